"""bonafide/sources/tables.py: a folder of parts: every file is read, or named, or refused."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bonafide.project.console import printable
from bonafide.project.errors import InputError
from bonafide.sources.tables import read_table

WANTED = {"text": "data.columns.text", "label": "data.columns.label"}


def write(name, content):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def write_parquet(name, **columns):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), name)


def rows(found):
    return [tuple(row.values()) for row in found.table.to_pylist()]


def csv(text):
    return f"text,label\n{text},1\n".encode()


def test_packed_parts_and_subfolders_are_read_in_the_order_of_their_names():
    write("t/b.csv.gz", gzip.compress(csv("b")))
    write("t/A.TSV", b"text\tlabel\nA\t1\n")
    write("t/c d.JSON", b'[{"text": "c", "label": 1}]')
    write("t/year=2024/x=1/part-0.jsonl.zst", pa.compress(b'{"text": "d", "label": 1}', "zstd", asbytes=True))
    write_parquet("t/year=2025/p.parquet", text=["e"], label=["1"])
    found = read_table(Path("t"), WANTED)
    assert rows(found) == [(text, "1") for text in "Abcde"]
    assert found.files == [
        {"file": "A.TSV", "rows": 1, "form": "tab, quotes of RFC 4180, UTF-8"},
        {"file": "b.csv.gz", "rows": 1, "form": "comma, quotes of RFC 4180, UTF-8, gzip"},
        {"file": "c d.JSON", "rows": 1, "form": "JSON, UTF-8"},
        {"file": "year=2024/x=1/part-0.jsonl.zst", "rows": 1, "form": "JSON, UTF-8, zstd"},
        {"file": "year=2025/p.parquet", "rows": 1, "form": "Parquet"},
    ]
    assert found.not_read == []


def test_hidden_files_and_markers_are_no_data_and_all_else_is_named():
    for hidden in (".a.csv", "._a.csv", ".DS_Store", "_SUCCESS", "_metadata", ".ipynb_checkpoints/a.csv", "s/.b.csv"):
        write(f"t/{hidden}", csv("hidden"))
    write("t/a.csv", csv("a"))
    for other in ("notes.txt", "a.csv.bak", "b.xlsx", "s/c.csv.zip", "d.parquet.gz", "_temporary/0/e.csv", "f.gz"):
        write(f"t/{other}", csv("other"))
    Path("t/link").symlink_to(Path("t/s").resolve(), target_is_directory=True)
    found = read_table(Path("t"), WANTED)
    assert rows(found) == [("a", "1")]
    assert found.not_read == [
        *("_temporary/", "a.csv.bak", "b.xlsx", "d.parquet.gz", "f.gz", "link/", "notes.txt", "s/c.csv.zip")
    ]


def test_a_linked_part_is_read_and_a_link_to_nothing_refused():
    write("kept.csv", csv("a"))
    Path("t").mkdir()
    Path("t/a.csv").symlink_to("../kept.csv")
    assert rows(read_table(Path("t"), WANTED)) == [("a", "1")]
    Path("t/b.csv").symlink_to("gone.csv")
    with pytest.raises(InputError, match=r"^t/b.csv: no such file$"):
        read_table(Path("t"), WANTED)


def test_where_nothing_is_a_table_what_is_there_is_named():
    write("t/notes.txt", "x")
    write("t/.a.csv", csv("hidden"))
    with pytest.raises(InputError, match=r"^t: a folder without a .csv, .* file; not read: notes.txt$"):
        read_table(Path("t"), WANTED)


def test_parts_may_have_other_columns_in_another_order_and_lack_none_that_is_asked_for():
    write("t/a.csv", "text,label,stars\na,1,5\n")
    write("t/b.csv", "label,user,text\n1,u,b\n")
    found = read_table(Path("t"), WANTED)
    assert rows(found) == [("a", "1"), ("b", "1")]
    assert found.columns == {"text": "text", "label": "text", "stars": "text", "user": "text"}
    write("t/c.csv", "text,stars\nc,1\n")
    with pytest.raises(InputError, match=r"^t/c.csv: no column 'label' \(data.columns.label\); the header is 'text'"):
        read_table(Path("t"), WANTED)


def test_types_that_differ_between_parts_are_spelled_as_they_are_written():
    write("t/a.csv", "text,label\n a ,1\n")
    write("t/b.jsonl", '{"text": "b", "label": 9007199254740993}\n')
    write_parquet("t/c.parquet", text=pa.array(["c"], pa.large_string()), label=[9007199254740993])
    write_parquet("t/d.parquet", text=["d", "e"], label=[1.0, None])
    write_parquet("t/e.parquet", text=["f"], label=[None])
    assert rows(read_table(Path("t"), WANTED)) == [
        *((" a ", "1"), ("b", "9007199254740993"), ("c", "9007199254740993"), ("d", "1"), ("e", None), ("f", None))
    ]
    write_parquet("s/c.parquet", text=["c"], label=[9007199254740993])
    write_parquet("s/d.parquet", text=["d", "e"], label=[0.5, None])
    assert rows(read_table(Path("s"), WANTED)) == [("c", "9007199254740993"), ("d", "0.5"), ("e", None)]


def test_a_part_without_rows_is_none_and_one_without_bytes_is_refused():
    write("t/a.csv", csv("a"))
    write("t/b.csv", "text,label\n")
    write_parquet("t/c.parquet", text=pa.array([], pa.string()), label=pa.array([], pa.int64()))
    assert [(file["file"], file["rows"]) for file in read_table(Path("t"), WANTED).files] == [
        *(("a.csv", 1), ("b.csv", 0), ("c.parquet", 0))
    ]
    write("t/d.csv", "")
    with pytest.raises(InputError, match=r"^t/d.csv: empty, without even a header$"):
        read_table(Path("t"), WANTED)


@pytest.mark.parametrize("name", [b"caf\xe9.csv", b"a\x1b[31m.csv"])
def test_a_name_that_cannot_be_shown_is_refused_where_it_is_a_tables(name):
    Path("t").mkdir()
    write("t/a.csv", csv("a"))
    Path(os.fsdecode(b"t/" + name[:-4] + b".txt")).write_bytes(b"x")
    assert read_table(Path("t"), WANTED).not_read == [f"{printable(os.fsdecode(name[:-4]))}.txt"]
    Path(os.fsdecode(b"t/" + name)).write_bytes(csv("b"))
    with pytest.raises(InputError, match=r"^t/.*\.csv: a file's name with what is no character: rename it$"):
        read_table(Path("t"), WANTED)


def test_a_cut_part_is_refused_by_its_name():
    write("t/a.csv", csv("a"))
    write("t/b.csv.gz", gzip.compress(csv("b") * 1000)[:-9])
    with pytest.raises(InputError, match=r"^t/b.csv.gz: cannot be unpacked: .*; is it whole\?$"):
        read_table(Path("t"), WANTED)


@pytest.mark.parametrize("name", ["t.csv.zip", "t.tar.gz", "t.xlsx", "t", "t.parquet.gz"])
def test_a_file_of_another_kind_says_what_is_read(name):
    write(name, "x")
    with pytest.raises(InputError, match=rf"^{name}: not a table: a name ends in .csv, .*\.gz, .bz2, .zst"):
        read_table(Path(name), WANTED)
