"""bonafide/quality/labels.py and offers.py: what does not match is named, and what is offered suffices."""

import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.quality.labels import by_meaning, count, nearest, say_absent, say_others, tables
from bonafide.quality.offers import least_tolerance, round_up


def labels(values, declared):
    return count(pa.chunked_array([pa.array(values, pa.string())]), declared)


@pytest.mark.parametrize(
    ("declared", "there", "told"),
    [
        ("0", "0.0", "'0' is in no row: did you mean '0.0' (3 rows)?"),
        ("01", "1", "'01' is in no row: did you mean '1' (3 rows)?"),
        ("1e3", "1000", "'1e3' is in no row: did you mean '1000' (3 rows)?"),
        ("True", "true", "'True' is in no row: did you mean 'true' (3 rows)?"),
        ("good  film", "good film", "'good  film' is in no row: did you mean 'good film' (3 rows)?"),
        ("postive", "positive", "'postive' is in no row: did you mean 'positive' (3 rows)?"),
        ("caf\xe9", "cafe\u0301", r"'caf\xe9' is in no row: did you mean 'cafe\u0301' (3 rows)?"),
        ("1", "\uff11", r"'1' is in no row: did you mean '\uff11' (3 rows)?"),
        ("a", "a\u200b", r"'a' is in no row: did you mean 'a\u200b' (3 rows)?"),
        ("x", "positive", "'x' is in no row"),
    ],
)
def test_a_declared_label_without_rows_is_named_with_the_spelling_that_is_meant(declared, there, told):
    found = labels([there] * 3 + ["b"] * 2, [declared, "b"])
    assert say_absent(found).startswith(f"{told}; not declared: ")
    assert say_absent(found).endswith(" in 3 rows")


def test_labels_that_match_leave_nothing_to_say():
    found = labels(["a", "b", None, "b"], ["b", "a"])
    assert (found.declared, found.others, found.absent, tables(found)) == ({"b": 2, "a": 1}, {}, [], [])
    assert say_others(found) == ""


def test_what_may_be_a_persons_text_is_only_counted():
    private = ["a text that goes on and on and on", "me and you and them", "bob@example.com"]
    found = labels([*private, "meh", "meh", "a"], ["a", "b"])
    said = say_others(found)
    assert (
        said
        == "not declared: 'meh' in 2 rows, (33 characters) in 1 row, (15 characters) in 1 row, (19 characters) in 1 row"
    )
    assert not any(text in str(tables(found)) for text in private)


def test_many_labels_are_capped_and_counted():
    found = labels([f"t{i:04}" for i in range(2000) for _ in range(2)], [f"d{i}" for i in range(30)])
    assert "; nor are 25 more; " in say_absent(found)
    assert say_absent(found).endswith("and 1,995 more in 3,990 rows")
    assert len(tables(found)[0]["rows"]) == 40
    long = "x" * 250
    assert len(say_absent(labels(["a"], [long, "b"]))) < 150


@given(st.lists(st.text(max_size=6), min_size=1, max_size=8), st.text(max_size=6))
def test_the_nearest_is_one_of_them(others, label):
    assert nearest(label, by_meaning(others)) in {*others, None}
    assert nearest(label.upper(), by_meaning([label])) == label or label.upper().casefold() != label.casefold()


def test_a_column_of_long_texts_that_is_no_label_costs_little():
    found = labels([f"{i} " + "long " * 20_000 for i in range(300)], ["a", "b"])
    began = time.process_time()
    assert "'a' is in no row; 'b' is in no row; not declared: (100,002 characters) in 1 row" in say_absent(found)
    assert len(tables(found)[0]["rows"]) == 22
    assert time.process_time() - began < 2


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=5))
def test_the_least_tolerance_suffices_by_both_arithmetics(pairs):
    failing = [(min(pair), max(pair)) for pair in pairs]
    tolerance = least_tolerance(failing)
    assert 0 <= tolerance <= 1
    assert tolerance == round(tolerance, 4)
    assert all(few <= tolerance * rows and (rows - few) / rows >= 1 - tolerance for few, rows in failing if rows)
    worst = max((few / rows for few, rows in failing if rows), default=0.0)
    assert tolerance <= worst + 2e-4


@given(st.floats(0, 1))
def test_a_rounded_share_is_not_below_it(share):
    assert share - 1e-9 <= round_up(share) <= share + 1e-4
