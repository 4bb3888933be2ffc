"""bonafide/sources/parquet.py: whatever Arrow's types are, values are read as they are written, or refused by name."""

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bonafide.project.errors import InputError
from bonafide.sources.columns import names
from bonafide.sources.parquet import plain_types, read_parquet

WANTED = {"label": "data.columns.label"}
NOON = dt.datetime(2024, 1, 31, 12)  # noqa: DTZ001 - columns add the zone
FAR = 316_835_366_400 * 10**6  # microseconds to the year 12,010
ID = uuid.UUID(int=7)
COLUMNS = {
    "string_view": (pa.array(["a", None], pa.string_view()), ["a", None]),
    "large_string": (pa.array(["a", "é"], pa.large_string()), ["a", "é"]),
    "binary": (pa.array([b"a", "é".encode()], pa.binary()), ["a", "é"]),
    "large_binary": (pa.array([b"a", None], pa.large_binary()), ["a", None]),
    "binary_view": (pa.array([b"a", None], pa.binary_view()), ["a", None]),
    "fixed_size_binary": (pa.array([b"ab", None], pa.binary(2)), ["ab", None]),
    "dictionary": (pa.array(["a", None, "b"]).dictionary_encode(), ["a", None, "b"]),
    "dictionary-large": (pa.array(["a", "b"], pa.large_string()).dictionary_encode(), ["a", "b"]),
    "dictionary-of-integers": (pa.array([3, None]).dictionary_encode(), ["3", None]),
    "decimal": (pa.array([Decimal("1.50"), Decimal("-2.00")]), ["1.50", "-2.00"]),
    "decimal256": (pa.array([Decimal("1" * 60), None], pa.decimal256(70, 1)), ["1" * 60 + ".0", None]),
    "float16": (pa.array([1.0, 2.5], pa.float16()), ["1", "2.5"]),
    "float64": (pa.array([1.0, -0.5, float("nan"), 2.0**52]), ["1", "-0.5", None, str(2**52)]),
    "int64": (pa.array([2**63 - 1, None]), [str(2**63 - 1), None]),
    "uint64": (pa.array([2**64 - 1, 1], pa.uint64()), [str(2**64 - 1), "1"]),
    "boolean": (pa.array([True, None]), ["true", None]),
    "uuid": (pa.array([ID.bytes, None], pa.uuid()), [str(ID), None]),
    "json": (pa.array(['{"a":1}', None], pa.json_()), ['{"a":1}', None]),
    "timestamp": (pa.array([NOON, None], pa.timestamp("ms")), ["2024-01-31 12:00:00", None]),
    "nanoseconds": (pa.array([NOON, None], pa.timestamp("ns")), ["2024-01-31 12:00:00", None]),
    "zone": (pa.array([NOON], pa.timestamp("us", tz="Europe/Berlin")), ["2024-01-31 13:00:00+0100"]),
    "beyond-9999": (pa.array([FAR], pa.timestamp("us")), ["12010-02-11 00:00:00"]),
    "zone-beyond-9999": (pa.array([FAR], pa.timestamp("us", tz="UTC")), ["12010-02-11 00:00:00Z"]),
    "date": (pa.array([NOON.date(), None]), ["2024-01-31", None]),
    "time": (pa.array([dt.time(1, 2, 3), None]), ["01:02:03", None]),
    "duration": (pa.array([dt.timedelta(days=1, seconds=2)]), ["86402000000 us"]),
    "null": (pa.nulls(2), [None, None]),
}


@pytest.mark.parametrize(("column", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_every_type_is_named_as_it_is_written(column, expected):
    others = {"list": [[1]] * len(column), "struct": [{"a": 1}] * len(column), "map": [{"label": 1}] * len(column)}
    pq.write_table(pa.table({**others, "label": column}), "t.parquet")
    found = read_parquet(Path("t.parquet"), WANTED).table
    assert found.column_names == ["label"]
    assert names(found["label"], "t").to_pylist() == expected
    assert names(plain_types(pa.table({"label": column}), "t")["label"], "t").to_pylist() == expected


@pytest.mark.parametrize("column", [pa.array([2**61], pa.timestamp("us", tz="UTC")), pa.array([2**30], pa.date32())])
def test_a_year_that_has_no_name_is_refused(column):
    with pytest.raises(InputError, match=r"^t: holds .* beyond the years that have a name$"):
        names(plain_types(pa.table({"label": column}), "t")["label"], "t")


def test_what_only_a_loader_can_return_is_read_too():
    views = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), pa.array(["a", "b"], pa.string_view()))
    assert plain_types(pa.table({"x": views}), "t")["x"].to_pylist() == ["b", None, "a"]
    ended = pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"])
    assert plain_types(pa.table({"x": ended}), "t")["x"].to_pylist() == ["a", "a", "b"]


@pytest.mark.parametrize("values", [[["a"]], [{"a": "x"}]])
def test_a_nested_column_that_is_asked_for_is_refused_by_name(values):
    pq.write_table(pa.table({"label": values}), "t.parquet")
    with pytest.raises(InputError, match=r"^t.parquet: the column 'label' \(data.columns.label\) holds .*, not values"):
        read_parquet(Path("t.parquet"), WANTED)


def test_names_with_dots_are_no_paths_into_structs():
    pq.write_table(pa.table({"a.b": ["x"], "a": [{"b": "wrong"}]}), "t.parquet")
    assert read_parquet(Path("t.parquet"), {"a.b": "data.columns.label"}).table.to_pylist() == [{"a.b": "x"}]


def whole():
    pq.write_table(pa.table({"label": [str(n) for n in range(1000)]}), "t.parquet")
    return Path("t.parquet").read_bytes()


def spoiled_page(content):
    return content[:40] + b"\xff" * 200 + content[240:]


def test_a_name_of_a_column_that_is_no_text_is_refused():
    pq.write_table(pa.table({"label": ["a"], "other": [1]}), "t.parquet", store_schema=False)
    Path("t.parquet").write_bytes(Path("t.parquet").read_bytes().replace(b"other", b"oth\xff\xfe"))
    with pytest.raises(InputError, match=r"^t.parquet: not a readable Parquet file: 'utf-8' codec can't decode"):
        read_parquet(Path("t.parquet"), WANTED)


BROKEN = {
    "empty": (lambda _: b"", "empty$"),
    "cut": (lambda content: content[:-100], "not a readable Parquet file: Parquet magic bytes not found in footer"),
    "no-parquet": (lambda _: b"text,label\n" * 10, "not a readable Parquet file: Parquet magic bytes not found"),
    "spoiled": (spoiled_page, "not a readable Parquet file: "),
    "encrypted-footer": (lambda content: content[:-4] + b"PARE", "not a readable Parquet file: .*[Ee]ncrypt"),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_in_one_line(spoil, message):
    Path("t.parquet").write_bytes(spoil(whole()))
    with pytest.raises(InputError, match=f"^t.parquet: {message}") as refusal:
        read_parquet(Path("t.parquet"), WANTED)
    assert "\n" not in str(refusal.value)
