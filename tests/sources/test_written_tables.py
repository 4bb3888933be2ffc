"""Whatever pandas, pyarrow, polars and Python's csv and json write, fetch reads back, or names the file and the line.

What a file does not say cannot come back: pandas and Python's csv write null as they write an empty text; what is
written without any quoting is read with `data.quotes: none`, and has no delimiter and no line end in a text; a line
end other than the file's own that was not quoted is one.
"""

import csv
import json
import re
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bonafide.params.sections import Data
from bonafide.project.errors import InputError
from bonafide.sources.columns import names
from bonafide.sources.data_source import read_source

NAMES = ["text", "label", "count"]
letters = st.one_of(st.sampled_from("\",;|\t\n\r '\\a1\ufeff\0"), st.characters(exclude_categories=["Cs"]))
texts = st.none() | st.text(letters, max_size=8)
tables = st.lists(st.tuples(texts, texts, st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=6)
delimiters = st.sampled_from(",;\t|")
ends = st.sampled_from(["\n", "\r\n", "\r"])
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
suffixes = st.sampled_from(["", ".gz", ".bz2", ".xz"])
law = settings(max_examples=80)


def back(name, quotes="auto"):
    """What fetch reads, row by row, numbers as they are named."""
    data = Data(
        source=name, downloads=[], columns={"text": "text", "label": "label"}, sample=1, slices=["count"],
        quotes=quotes,
    )  # fmt: skip
    table = read_source(data, dict.fromkeys(NAMES, "data.columns")).table
    counts = names(table["count"], name).to_pylist()
    return list(zip(table["text"].to_pylist(), table["label"].to_pylist(), counts, strict=True))


def check(name, table, *, nulls=True, quotes="auto"):
    """Hold what is read to what was written; only line ends within texts may be a reason to refuse."""
    expected = [tuple(None if v is None or (v == "" and not nulls) else str(v) for v in row) for row in table]
    refused = ""
    try:
        found = [tuple(v if nulls else v or None for v in row) for row in back(name, quotes)]
    except InputError as error:
        refused, found = str(error), expected
    Path(name).unlink()
    assert found == expected
    if refused:
        assert re.match(rf"{re.escape(name)}: line \d+ ", refused)
        assert any(end in (text or "") for row in table for text in row[:2] for end in "\n\r")


def columns(table):
    return dict(zip(NAMES, map(list, zip(*table, strict=True)), strict=True))


def named(suffix, delimiter=","):
    return ("t.tsv" if delimiter == "\t" else "t.csv") + suffix


@law
@given(tables, delimiters, ends, encodings, suffixes, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_csv_of_pandas(table, delimiter, end, encoding, suffix, quoting):
    assume(not suffix or encoding not in ("utf-16", "utf-32"))  # pandas leaves their BOM out, and warns
    name = named(suffix, delimiter)
    pd.DataFrame(columns(table), dtype=object).to_csv(
        name, sep=delimiter, lineterminator=end, encoding=encoding, quoting=quoting, index=False
    )
    check(name, table, nulls=False)


@law
@given(tables, delimiters, ends, encodings, st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
def test_csv_of_python(table, delimiter, end, encoding, quoting):
    with Path("t.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows([NAMES, *table])
    check("t.csv", table, nulls=False)


@law
@given(tables, delimiters, st.sampled_from(["needed", "all_valid"]), st.sampled_from(["", ".gz", ".bz2", ".zst"]))
def test_csv_of_pyarrow(table, delimiter, quoting, suffix):
    name = named(suffix, delimiter)
    options = pa.csv.WriteOptions(delimiter=delimiter, quoting_style=quoting)
    with pa.output_stream(name) as file:
        pa.csv.write_csv(pa.table(columns(table)), file, options)
    check(name, table)


@law
@given(tables, delimiters, ends, st.sampled_from(["necessary", "always", "non_numeric"]), st.booleans())
def test_csv_of_polars(table, delimiter, end, quoting, bom):
    frame = pl.DataFrame(columns(table), schema={"text": pl.String, "label": pl.String, "count": pl.Int64})
    frame.write_csv(
        named("", delimiter), separator=delimiter, line_terminator=end, quote_style=quoting, include_bom=bom
    )
    check(named("", delimiter), table, nulls=quoting != "always")


bare_text = st.text(letters.filter(lambda c: c not in ",;\t|\n\r"), min_size=1, max_size=8)
bare = st.lists(
    st.tuples(bare_text, bare_text, st.integers(0, 9)),
    min_size=1, max_size=6,
)  # fmt: skip


@law
@given(bare, delimiters, st.sampled_from(["polars", "python"]))
def test_csv_without_any_quoting(table, delimiter, writer):
    if writer == "polars":
        pl.DataFrame(columns(table)).write_csv("t.csv", separator=delimiter, quote_style="never")
    else:
        with Path("t.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_NONE, quotechar=None).writerows([NAMES, *table])
    check("t.csv", table, quotes="none")


@law
@given(tables, st.sampled_from([".jsonl", ".json", ".jsonl.gz", ".json.bz2", ".ndjson.xz"]), st.booleans())
def test_json_of_pandas(table, suffix, ascii_):
    frame = pd.DataFrame(columns(table), dtype=object)
    frame.to_json(f"t{suffix}", orient="records", lines=suffix.split(".")[1] != "json", force_ascii=ascii_)
    check(f"t{suffix}", table)


@law
@given(tables, st.sampled_from([".jsonl", ".json"]))
def test_json_of_polars(table, suffix):
    frame = pl.DataFrame(columns(table), schema={"text": pl.String, "label": pl.String, "count": pl.Int64})
    (frame.write_json if suffix == ".json" else frame.write_ndjson)(f"t{suffix}")
    check(f"t{suffix}", table)


@law
@given(tables, encodings, ends, st.booleans(), st.sampled_from([None, 2]))
def test_json_of_python(table, encoding, end, ascii_, indent):
    rows = [json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=ascii_, indent=indent) for row in table]
    Path("t.json").write_bytes((f"[{f',{end}'.join(rows)}]" if ascii_ else end.join(rows)).encode(encoding))
    check("t.json", table)


kinds = st.sampled_from([pa.string(), pa.large_string(), pa.string_view(), pa.binary()])
packings = st.sampled_from(["none", "snappy", "gzip", "brotli", "zstd", "lz4"])


@law
@given(tables, kinds, packings, st.sampled_from(["1.0", "2.0"]), st.booleans(), st.sampled_from([1, 2, 100]))
def test_parquet_of_pyarrow(table, kind, packing, version, dictionary, group):
    made = pa.table(columns(table), pa.schema([("text", pa.string()), ("label", pa.string()), ("count", pa.int64())]))
    made = made.set_column(0, "text", made["text"].cast(kind))
    if dictionary and kind in (pa.string(), pa.large_string()):
        made = made.set_column(1, "label", made["label"].cast(kind).dictionary_encode())
    pq.write_table(
        made, "t.parquet", compression=packing, data_page_version=version, use_dictionary=dictionary,
        row_group_size=group,
    )  # fmt: skip
    check("t.parquet", table)


@law
@given(tables, packings, st.sampled_from(["object", "category", "str"]))
def test_parquet_of_pandas(table, packing, kind):
    frame = pd.DataFrame(columns(table)).astype({"text": kind, "label": kind})
    frame.to_parquet("t.parquet", compression=None if packing == "none" else packing)
    check("t.parquet", table)


@law
@given(tables, st.sampled_from(["uncompressed", "snappy", "gzip", "brotli", "zstd", "lz4"]), st.booleans())
def test_parquet_of_polars(table, packing, categories):
    frame = pl.DataFrame(columns(table), schema={"text": pl.String, "label": pl.String, "count": pl.Int64})
    frame = frame.with_columns(pl.col("label").cast(pl.Categorical)) if categories else frame
    frame.write_parquet("t.parquet", compression=packing)
    check("t.parquet", table)
