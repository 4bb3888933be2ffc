"""tables.py, columns.py, delimited.py, jsonlines.py: what a person's table becomes, or why it is refused."""

import csv
import json
import os
import resource
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.params.sections import Data
from bonafide.project.errors import InputError
from bonafide.project.files import sha256
from bonafide.sources.columns import arrange, wanted_columns
from bonafide.sources.data_source import read_source
from bonafide.sources.delimited import read_delimited
from bonafide.sources.sample import sample
from bonafide.sources.tables import read_table, write_table

PLAIN = {"text": "text", "label": "label"}
KINDS = {"text": "text", "label": "category"}
MIB = 2**20


def raw(source, columns=PLAIN, slices=(), quotes="auto"):
    data = Data(
        source=source,
        downloads=[],
        columns=columns,
        sample=1,
        slices=list(slices),
        quotes=quotes,
    )
    return arrange(read_source(data, wanted_columns(data, KINDS)).table, data, KINDS)


def write(name, content):
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_parquet(name, **columns):
    pq.write_table(pa.table(columns), name)


@contextmanager
def unprivileged():
    """Root may read and write everything: be nobody for a while."""
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)


ROWS = [['a, "b"\nc', "1"], ["=1+1", "0"], ["今天", "1"]]


def save_csv(name, delimiter, encoding):
    with Path(name).open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([["text", "label"], *ROWS])


@pytest.mark.parametrize(
    "save",
    [
        pytest.param(lambda: save_csv("t.csv", ",", "utf-8"), id="csv"),
        pytest.param(lambda: save_csv("t.csv", ",", "utf-8-sig"), id="csv-with-bom"),
        pytest.param(lambda: save_csv("t.tsv", "\t", "utf-8"), id="tsv"),
        pytest.param(
            lambda: write("t.jsonl", "\n".join(json.dumps({"text": t, "label": int(y)}) for t, y in ROWS)), id="jsonl"
        ),
        pytest.param(
            lambda: write("t.ndjson", "\ufeff" + "\n\n".join(json.dumps({"label": y, "text": t}) for t, y in ROWS)),
            id="ndjson-with-bom-and-blank-lines",
        ),
        pytest.param(
            lambda: write_parquet("t.parquet", text=[t for t, _ in ROWS], label=[float(y) for _, y in ROWS]),
            id="parquet",
        ),
        pytest.param(
            lambda: pd.DataFrame(ROWS, columns=["text", "label"]).astype({"label": "category"}).to_parquet("t.parquet"),
            id="pandas-categories",
        ),
    ],
)
def test_the_same_rows_give_the_same_bytes_from_every_format(save):
    save()
    table = raw(next(Path().glob("t.*")).name)
    assert table.to_pydict() == {"id": ["1", "2", "3"], "text": [t for t, _ in ROWS], "label": ["1", "0", "1"]}
    write_table(table, Path("out.parquet"))
    write_table(
        pa.table({"id": ["1", "2", "3"], "text": [t for t, _ in ROWS], "label": ["1", "0", "1"]}), Path("b.parquet")
    )
    assert sha256(Path("out.parquet")) == sha256(Path("b.parquet"))


def test_columns_are_mapped_typed_and_ordered():
    write(
        "t.csv",
        "stars,who,part,words,key,when,mixed,price\n"
        "good , u1,test,fine,k1,2024-01-31,1,1.5\n"
        ' bad,u2,,"",k2,2024-02-01,x,inf\n'
        "good,,,, k3 ,,,\n",
    )
    columns = {"text": "words", "label": "stars", "id": "key", "group": "who", "split": "part"}
    table = raw("t.csv", columns, ["when", "mixed", "price"])
    assert table.to_pydict() == {
        "id": ["k1", "k2", "k3"],
        "text": ["fine", "", None],
        "label": ["good", "bad", "good"],
        "group": ["u1", "u2", None],
        "split": ["test", None, None],
        "when": ["2024-01-31", "2024-02-01", None],
        "mixed": ["1", "x", None],
        "price": [1.5, None, None],
    }
    assert table.schema.field("price").type == pa.float64()
    assert {field.type for field in table.schema} == {pa.string(), pa.float64()}


def test_labels_are_names_whatever_their_type():
    write_parquet("i.parquet", text=["a", "b"], label=pa.array([1, None], pa.int8()))
    write_parquet("f.parquet", text=["a", "b", "c"], label=[2.0, float("nan"), 1.5])
    write_parquet("b.parquet", text=["a", "b"], label=[True, False])
    write_parquet("s.parquet", text=["a", "b"], label=[" yes ", " "])
    assert raw("i.parquet")["label"].to_pylist() == ["1", None]
    assert raw("f.parquet")["label"].to_pylist() == ["2", None, "1.5"]
    assert raw("b.parquet")["label"].to_pylist() == ["true", "false"]
    assert raw("s.parquet")["label"].to_pylist() == ["yes", None]


def test_json_keeps_the_spelling_of_what_looks_like_a_time():
    write("t.jsonl", '{"text": "2024-01-31", "label": "2024-01-31T00:00:00Z"}\n')
    assert raw("t.jsonl").to_pylist() == [{"id": "1", "text": "2024-01-31", "label": "2024-01-31T00:00:00Z"}]


def test_a_folder_is_read_in_the_order_of_names():
    write("t/b.csv", "text,label\nsecond,1\n")
    write("t/a.jsonl", '{"label": 0, "text": "first"}\n')
    write("t/notes.txt", "no table")
    assert raw("t").to_pydict() == {"id": ["1", "2"], "text": ["first", "second"], "label": ["0", "1"]}


def test_what_validate_judges_passes_through():
    write("nul.csv", b"text,label\na\x00b,1\n")
    assert raw("nul.csv")["text"].to_pylist() == ["a\x00b"]
    bad = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    write_parquet("bad.parquet", text=bad, label=["1", "0"])
    assert raw("bad.parquet")["text"].cast(pa.binary()).to_pylist() == [b"fine", b"caf\xe9"]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=5))
def test_csv_reads_back_whatever_was_written(rows):
    with tempfile.NamedTemporaryFile("w", suffix=".csv", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
        file.flush()
        table = read_delimited(Path(file.name), {"a": "", "b": ""}).table
    assert [tuple(row.values()) for row in table.to_pylist()] == rows


FINE = b"text,label\nfine,1\n"
REFUSED = {
    "missing": (None, "^t.csv: no such file or folder"),
    "empty": (b"", "^t.csv: empty, without even a header$"),
    "header-only": (b"text,label\n", "^t.csv: no rows$"),
    "header-without-line-end": (b"text,label", "^t.csv: no rows$"),
    "no-header": (
        b"a rather long text of a person,1\nfine,1\n",
        r"^t.csv: no column 'text' \(data.columns.text\); the header is \(30 characters\), '1'$",
    ),
    "misnamed": (b"Txet,label\nfine,1\n", r"^t.csv: no column 'text' \(data.columns.text\): did you mean 'Txet'\?; "),
    "twice": (b"text,label,text\nfine,1,x\n", r"^t.csv: the column 'text' \(data.columns.text\) is there 2 times$"),
    "utf-16": ("text,label\nfine,".encode("utf-16") + b"\0\xd8a\0", "^t.csv: byte 34, in line 2, is not UTF-16: save"),
    "latin-1": (FINE + b'"two\nlines",1\ncaf\xe9,1\n', "^t.csv: byte 35, in line 5, is not UTF-8"),
    "cut-utf-8": (FINE + "é".encode()[:1], "^t.csv: byte 18, in line 3, is not UTF-8"),
    "ragged": (FINE + b"secret,1,0\n", "^t.csv: line 3 has 3 fields, the header 2$"),
    "short": (FINE + b"\n\nsecret\n", "^t.csv: line 5 has 1 field, the header 2$"),
    "open-quote": (FINE + b'fine,"1\nfine, fine,1\n', "^t.csv: line 3 opens a quote that is never closed$"),
    "100-mb-field": (FINE + b"x" * (100 * MIB) + b",1\n", "^t.csv: line 3 has a field of over 16 MiB"),
    "17-mb-field": (
        FINE + b"x" * (17 * MIB) + b",1\n",
        "^t.csv: line 3 has a field of over 16 MiB, or opens a quote that is never closed$",
    ),
    "long-header": (b"x" * (40 * MIB), "^t.csv: line 1 has a field of over 16 MiB$"),
    "all-null": (b"text,label\n,1\n,0\n", "^t.csv: the column 'text': no row has a text$"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_a_bad_csv_is_refused_by_name_and_row_without_its_text(content, message):
    if content is not None:
        write("t.csv", content)
    with pytest.raises(InputError, match=message) as refusal:
        raw("t.csv")
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)
    assert "person" not in str(refusal.value)


REFUSED_JSONL = {
    "empty": (b"", "^t.jsonl: empty$"),
    "blank": (b"\n\n", "^t.jsonl: empty$"),
    "array": (b'[{"text": "secret"}]', "^t.jsonl: line 1 is not an object$"),
    "cut": (b'{"text": "a"}\n\n{"text": "secret', "^t.jsonl: line 3 is not JSON: Unterminated string"),
    "surrogate": (b'{"text": "\\ud800"}\n', "^t.jsonl: the column 'text': line 1 has half a surrogate pair$"),
    "latin-1": (b'{"text": "a"}\n{"text": "caf\xe9"}\n', "^t.jsonl: byte 27, in line 2, is not UTF-8"),
    "twice": (b'{"text": "secret", "text": "b"}\n', "^t.jsonl: line 1 has the column 'text' twice$"),
    "100-mb-field": (b'{"text": "%s"}\n' % (b"x" * (100 * MIB)), "^t.jsonl: line 1 has a field of over 16 MiB$"),
    "deep": (b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "^t.jsonl: line 1 is not JSON: nested too"),
    "lists": (b'{"text": ["a"], "label": 1}\n', "^t.jsonl: the column 'text': line 1 holds an array, not a value$"),
    "label-lists": (b'{"text": "a", "label": [1]}\n', "^t.jsonl: the column 'label': line 1 holds an array"),
    "null": (b'{"text": null, "label": 1}\n', "^t.jsonl: the column 'text': no row has a text$"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED_JSONL.values(), ids=REFUSED_JSONL)
def test_a_bad_jsonl_is_refused_by_name_and_line_without_its_text(content, message):
    write("t.jsonl", content)
    with pytest.raises(InputError, match=message) as refusal:
        raw("t.jsonl")
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("columns", "slices", "message"),
    [
        (PLAIN | {"txet": "n"}, [], r"^params.yaml: data.columns: 'txet' is not one of .*: did you mean 'text'\?$"),
        (
            PLAIN | {"group": "user"},
            [],
            r"no column 'user' \(data.columns.group\); the header is 'text', 'label', 'n'$",
        ),
        (PLAIN, ["domain"], r"^t.csv: no column 'domain' \(data.slices\); the header is"),
        (
            PLAIN | {"id": "text"},
            [],
            "^t.csv: the column 'text': 1 ids are there more than once, 'b' the first of them$",
        ),
        (PLAIN | {"id": "n"}, [], "^t.csv: the column 'n': row 2 has no id$"),
    ],
)
def test_a_bad_column_map_is_refused(columns, slices, message):
    write("t.csv", "text,label,n\na,1,x\nb,0,\nb,1,z\n")
    with pytest.raises(InputError, match=message):
        raw("t.csv", columns, slices)


def test_bad_utf8_in_a_name_of_a_parquet_file_is_refused_by_row():
    write_parquet("t.parquet", text=["a", "b"], label=pa.array([b"1", b"\xe9"]).view(pa.string()))
    with pytest.raises(InputError, match=r"^t.parquet: the column 'label': row 2 is not UTF-8$"):
        raw("t.parquet")


def test_sources_that_are_no_tables_are_refused():
    for path in ("d.csv", "empty"):
        Path(path).mkdir()
    write("t.xlsx", b"PK")
    write("t.parquet", b"PAR1 cut")
    write("mixed/a.csv", "text,label\na,1\n")
    write("mixed/b.csv", "text,stars\nb,1\n")
    os.mkfifo("pipe.csv")
    refusals = {
        "d.csv": "^d.csv: a folder without a .csv, .tsv, .jsonl, .ndjson, .json, .parquet file$",
        "empty": "^empty: a folder without a",
        "t.xlsx": "^t.xlsx: not a table: a name ends in .csv",
        "t.parquet": "^t.parquet: not a readable Parquet file: Parquet magic bytes not found in footer",
        "mixed": r"^mixed/b.csv: no column .label. \(data.columns.label\); the header is .text., .stars.$",
        "pipe.csv": "^pipe.csv: not a file$",
    }
    for source, message in refusals.items():
        with pytest.raises(InputError, match=message):
            raw(source)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_an_unreadable_file_is_refused(name, tmp_path):
    write("t.csv", FINE)
    write_parquet("t.parquet", text=["a"], label=["1"])
    tmp_path.chmod(0o755)
    Path(name).chmod(0)
    with unprivileged(), pytest.raises(InputError, match=f"^{name}: not readable: permission denied$"):
        read_table(Path(name), {})


def test_a_folder_with_an_unreadable_one_in_it_is_refused(tmp_path):
    write("t/a.csv", FINE)
    Path("t/s").mkdir()
    for folder in (tmp_path, Path("t")):
        folder.chmod(0o755)
    Path("t/s").chmod(0)
    with unprivileged(), pytest.raises(InputError, match=r"^t/s: not readable: permission denied$"):
        read_table(Path("t"), {})
    Path("t/s").chmod(0o755)


def test_a_full_disk_leaves_the_old_table():
    write_table(pa.table({"a": [1]}), Path("t.parquet"))
    before = sha256(Path("t.parquet"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_table(pa.table({"a": [os.urandom(100_000)]}), Path("t.parquet"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sha256(Path("t.parquet")) == before
    assert [path.name for path in Path().iterdir()] == ["t.parquet"]


def test_a_sample_has_whole_groups_and_grows_with_its_share():
    count = 20_000
    table = pa.table(
        {
            "id": [f"r{row}" for row in range(count)],
            "group": [None if row % 5 == 4 else f"g{row // 5}" for row in range(count)],
        }
    )
    small, large = sample(table, 0.1), sample(table, 0.3)
    kept = {row["group"] for row in small.to_pylist() if row["group"]}
    assert 0.09 * count < small.num_rows < 0.11 * count
    assert set(small["id"].to_pylist()) < set(large["id"].to_pylist())
    assert [row for row in table.to_pylist() if row["group"] in kept] == [
        row for row in small.to_pylist() if row["group"]
    ]
    assert sample(table, 1) is table
    with pytest.raises(InputError, match=r"^params.yaml: data.sample: 1e-09 of the table's groups is none$"):
        sample(table, 1e-9)
