"""bonafide/sources/columns.py: labels and slice columns of every type, as names and as numbers."""

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.params.sections import Data
from bonafide.project.errors import InputError
from bonafide.sources.columns import arrange, as_numbers, names, numbers, wanted_columns
from bonafide.sources.parquet import plain_types

COLUMNS = {"text": "text", "label": "label"}
BIG = 2**53 + 1
DAY = datetime(2024, 1, 31, 10, tzinfo=UTC)


def raw(table, slices, columns=COLUMNS):
    data = Data(source="t", downloads=[], columns=columns, sample=1, slices=list(slices), quotes="auto")
    return arrange(plain_types(pa.table(table), "t"), data, {"text": "text", "label": "category"})


def sliced(values, kind=None):
    """What a slice column becomes."""
    column = pa.array(values, kind)
    return raw({"text": ["a"] * len(column), "label": ["0"] * len(column), "s": column}, ["s"])["s"].to_pylist()


NUMBERS = {
    "int": ([1, None], pa.int8(), [1.0, None]),
    "uint": ([1, 2**52], pa.uint64(), [1.0, 2.0**52]),
    "float": ([1.5, math.nan, math.inf, None], pa.float64(), [1.5, None, None, None]),
    "half": ([0.5], pa.float16(), [0.5]),
    "decimal": ([Decimal("1.50"), Decimal("2.25")], None, [1.5, 2.25]),
    "written": (["1.50", "2", None], None, [1.5, 2.0, None]),
    "written-widely": (["0.12345678901234567", "1e3"], None, [0.12345678901234567, 1000.0]),
    "with-blanks": ([" 1", "", "2 "], None, [1.0, None, 2.0]),
}
WORDS = {
    "bool": ([True, False, None], None, ["true", "false", None]),
    "big-int": ([BIG, BIG - 1], pa.int64(), [str(BIG), str(BIG - 1)]),
    "big-uint": ([2**64 - 1, 2**64 - 2], pa.uint64(), [str(2**64 - 1), str(2**64 - 2)]),
    "big-written": ([str(BIG), str(BIG - 1)], None, [str(BIG), str(BIG - 1)]),
    "big-decimal": ([Decimal(10**20), Decimal(10**20 + 1)], None, [str(10**20), str(10**20 + 1)]),
    "code": (["01", "1"], None, ["01", "1"]),
    "mixed": (["1", "x", " x ", " "], None, ["1", "x", "x", None]),
    "date": ([date(2024, 1, 31)], None, ["2024-01-31"]),
    "instant": ([DAY], pa.timestamp("ns"), ["2024-01-31 10:00:00"]),
    "zoned": ([DAY], pa.timestamp("ms", "UTC"), ["2024-01-31 10:00:00Z"]),
    "far": ([date(9999, 12, 31)], None, ["9999-12-31"]),
    "time": ([time(10, 0, 0, 500)], pa.time64("us"), ["10:00:00.000500"]),
    "duration": ([timedelta(seconds=1.5)], pa.duration("ms"), ["1500 ms"]),
    "null": ([None, None], pa.null(), [None, None]),
    "no-number": ([None, None], pa.float64(), [None, None]),
    "dictionary": (["a", None, "a"], pa.dictionary(pa.int8(), pa.string()), ["a", None, "a"]),
    "view": (["a", "b"], pa.string_view(), ["a", "b"]),
    "large": (["a", "b"], pa.large_string(), ["a", "b"]),
    "bytes": ([b"a", "é".encode()], pa.binary(), ["a", "é"]),
}


@pytest.mark.parametrize(("values", "kind", "wanted"), NUMBERS.values(), ids=NUMBERS)
def test_a_slice_column_of_numbers_is_numbers(values, kind, wanted):
    assert sliced(values, kind) == wanted


@pytest.mark.parametrize(("values", "kind", "wanted"), WORDS.values(), ids=WORDS)
def test_a_slice_column_of_anything_else_is_names_and_none_is_taken_for_another(values, kind, wanted):
    assert sliced(values, kind) == wanted


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[1]], None),
        ([{"a": 1}], None),
        ([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        ([(1, 2, 3)], pa.month_day_nano_interval()),
    ],
)
def test_a_slice_column_without_names_is_refused(values, kind):
    with pytest.raises(InputError, match=r"^t: the column 's': holds .*, not names$"):
        sliced(values, kind)


def test_float_labels_are_named_as_short_as_they_can_be():
    for kind in (pa.float32(), pa.float64()):
        column = pa.chunked_array([pa.array([1.0, 0.1, -0.0, 2.0**53, math.nan, None], kind)])
        assert names(column, "t").to_pylist() == ["1", "0.1", "0", "9007199254740992.0", None, None]
    column = pa.chunked_array([pa.array([123456792.0, 16777216.0], pa.float32())])
    assert names(column, "t").to_pylist() == ["123456792", "16777216"]


def test_instants_beyond_the_names_of_years_are_refused():
    for kind in (pa.timestamp("s"), pa.timestamp("s", "UTC"), pa.timestamp("s", "Europe/Berlin"), pa.date32()):
        column = pa.array([2**60 if kind != pa.date32() else 2**31 - 1], kind)
        with pytest.raises(InputError, match=r"beyond the years that have a name$"):
            sliced(column, kind)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6))
def test_different_whole_numbers_stay_different(values):
    for column in (pa.array(values), pa.array(map(str, values))):
        found = numbers(pa.chunked_array([column]))
        made = names(pa.chunked_array([column]), "t") if found is None else found
        assert len(set(made.to_pylist())) == len(set(values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None], [1, None]),
        ([True, False], [1, 0]),
        ([1.5, math.inf, math.nan], [1.5, math.inf, None]),
        ([Decimal("1.50"), Decimal(2)], [1.5, 2]),
        ([" 1.5 ", "1e3", "-.5", "+2.", " ", ""], [1.5, 1000, -0.5, 2, None, None]),
        (["1", "1,000", "12 m", "nan", "inf", "0x10", "1_000", "١"], [1, *[math.nan] * 7]),
    ],
)
def test_a_number_is_read_whatever_its_type_and_what_is_none_stays_to_be_told_of(values, expected):
    np.testing.assert_equal(as_numbers(pa.chunked_array([pa.array(values)]), "t").to_pylist(), expected)


@pytest.mark.parametrize("values", [[None, None], ["x"], [DAY]])
def test_a_column_without_numbers_is_refused(values):
    with pytest.raises(InputError, match=r"^t: the column 'n': no row has a number$"):
        as_numbers(pa.chunked_array([pa.array(values)]), "t: the column 'n'")


def test_a_column_that_is_not_mapped_has_the_tables_name():
    kinds = {"target": "number", "size": "number", "place": "category"}
    data = Data(source="t", downloads=[], columns={"target": "price"}, sample=1, slices=["size"], quotes="auto")
    assert wanted_columns(data, kinds) == {"size": "task", "price": "data.columns.target", "place": "task"}
    table = pa.table({"price": ["10", "x"], "size": [1, 2], "place": [None, "a"]})
    np.testing.assert_equal(
        arrange(table, data, kinds).to_pydict(),
        {
            "id": ["1", "2"], "target": [10, math.nan], "size": [1, 2], "place": [None, "a"], "size (slice)": [1, 2],
        },
    )  # fmt: skip


def test_slice_columns_called_as_ours_are_kept_beside_them():
    table = {
        "text": ["a", "b"], "label": ["0", "1"], "id": ["x", "x"], "group": ["y", "z"], "split": ["u", "v"],
    }  # fmt: skip
    slices = ["text", "label", "id", "group", "split"]
    assert raw(table, slices).to_pydict() == {
        "id": ["1", "2"], "text": ["a", "b"], "label": ["0", "1"],
        "text (slice)": ["a", "b"], "label (slice)": [0.0, 1.0], "id (slice)": ["x", "x"],
        "group (slice)": ["y", "z"], "split (slice)": ["u", "v"],
    }  # fmt: skip
