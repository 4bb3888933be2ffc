"""Slices: every row is in exactly one slice of each column, under a name that a reader understands."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from bonafide.evaluation.slices import cut, number_names, readable, string_names


def table(**columns):
    rows = len(next(iter(columns.values())))
    return pa.table({"text": ["a text"] * rows} | columns)


def found(pieces, column):
    return {piece.value: piece.rows.tolist() for piece in pieces if piece.column == column}


@given(st.lists(st.one_of(st.none(), st.text(max_size=2)), min_size=1, max_size=80))
def test_every_string_is_in_one_slice(values):
    pieces = found(cut(table(domain=pa.array(values, pa.string())), ["domain"], {}), "domain")
    assert sorted(row for rows in pieces.values() for row in rows) == list(range(len(values)))


@given(st.lists(st.floats(), min_size=1, max_size=80))
def test_every_number_is_in_one_slice(values):
    pieces = found(cut(table(rating=pa.array(values, pa.float64())), ["rating"], {}), "rating")
    assert sorted(row for rows in pieces.values() for row in rows) == list(range(len(values)))


def test_the_most_frequent_values_come_first_and_the_rest_is_one_slice():
    values = [f"v{i:02}" for i in range(30) for _ in range(30 - i)] + [None]
    names, order = string_names(values)
    assert order == [*(f"v{i:02}" for i in range(20)), "other", "missing"]
    assert names.count("other") == sum(range(1, 11))
    assert names[-1] == "missing"


def test_few_numbers_are_slices_of_their_own_and_no_number_is_missing():
    pieces = found(cut(table(stars=pa.array([5.0, 1.0, None, 5.0, 2.5])), ["stars"], {}), "stars")
    assert pieces == {"1": [1], "2.5": [4], "5": [0, 3], "missing": [2]}


def test_many_numbers_are_cut_into_quartiles_named_by_their_ends():
    names, order = number_names(np.arange(1.0, 101.0))
    assert order == ["1 to 25", "26 to 50", "51 to 75", "76 to 100", "missing"]
    assert [names.count(name) for name in order] == [25, 25, 25, 25, 0]


def test_equal_numbers_share_a_slice_however_many_they_are():
    values = np.concatenate([np.zeros(90), np.arange(1.0, 21.0)])
    names, order = number_names(values)
    assert order == ["0", "1 to 20", "missing"]
    assert names.count("0") == 90


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), unique=True, max_size=20))
def test_different_numbers_have_different_names(values):
    assert len(set(readable(np.array(values)))) == len(values)


def test_numbers_have_as_few_digits_as_tell_them_apart():
    assert readable(np.array([0.5, 1 / 3, 1700.0])) == ["0.5", "0.333", "1700"]
    assert readable(np.array([1234.51, 1234.52])) == ["1234.51", "1234.52"]


OURS = {"size": (["small", "large", "small"], ["large", "small"])}


def test_what_a_task_knows_is_cut_in_its_order_after_the_columns():
    pieces = cut(table(stars=pa.array([1, 2, 1])), ["stars"], OURS)
    assert [(piece.column, piece.value, piece.rows.tolist()) for piece in pieces] == [
        ("stars", "1", [0, 2]), ("stars", "2", [1]), ("size", "large", [1]), ("size", "small", [0, 2])
    ]  # fmt: skip


def test_columns_called_as_ours_are_kept_beside_them():
    rows = pa.table({"size": ["A", "B", "B"], "built-in size": ["x", "x", "y"]})
    pieces = cut(rows, ["size"], OURS)
    assert found(pieces, "size") == {"B": [1, 2], "A": [0]}
    assert found(pieces, "built-in size") == {"large": [1], "small": [0, 2]}
    pieces = cut(rows, ["size", "built-in size"], OURS)
    assert found(pieces, "built-in size") == {"x": [0, 1], "y": [2]}
    assert found(pieces, "built-in built-in size") == {"large": [1], "small": [0, 2]}


def test_values_called_missing_and_other_are_not_those_that_are():
    values = ["missing", None, "other", *map(str, range(20)), *map(str, range(20))]
    names, order = string_names(values)
    assert names[:3] == ["built-in other", "built-in missing", "built-in other"]
    assert len(order) == len(set(order)) == 22
    assert string_names(["missing", "missing", None])[0] == ["missing", "missing", "built-in missing"]
