"""quality/splits.py: a split is a function of seed and group alone."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.project.errors import InputError
from bonafide.project.randomness import hashed_uniform
from bonafide.quality.class_balance import label_shift
from bonafide.quality.splits import (
    assign,
    check_group_sizes,
    check_names,
    leaked,
    priorities,
    ranks,
)

FRACTIONS = {"validation": 0.1, "test": 0.2}
groups_and_splits = st.lists(
    st.tuples(st.text(max_size=3), st.sampled_from([None, "train", "test_tweets"])), min_size=1, max_size=60
)


def strings(values):
    return pa.chunked_array([pa.array(values, pa.string())])


def split(rows, seed=1, fractions=FRACTIONS):
    return assign(strings([s for _, s in rows]), strings([g for g, _ in rows]), fractions, seed).to_pylist()


@given(groups_and_splits, groups_and_splits)
def test_adding_rows_never_moves_an_old_row(old, new):
    assert split([*old, *new])[: len(old)] == split(old)
    assert split([*new, *old])[len(new) :] == split(old)


@given(groups_and_splits, st.integers(0, 2**32 - 1))
def test_all_pool_rows_of_a_group_are_in_one_split(rows, seed):
    by_group = {}
    for (group, given_split), got in zip(rows, split(rows, seed), strict=True):
        if given_split == "test_tweets":
            assert got == "test_tweets"
        else:
            by_group.setdefault(group, set()).add(got)
    assert all(len(splits) == 1 for splits in by_group.values())


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.45), st.floats(0.05, 0.45))
def test_fractions_hold_within_five_standard_errors(seed, validation, test):
    rows = 20_000
    got = split([(str(i), None) for i in range(rows)], seed, {"validation": validation, "test": test})
    for name, fraction in (("validation", validation), ("test", test)):
        assert abs(got.count(name) / rows - fraction) < 5 * (fraction * (1 - fraction) / rows) ** 0.5


def test_another_seed_gives_another_split_and_the_same_seed_the_same():
    rows = [(str(i), None) for i in range(100)]
    assert split(rows, 1) == split(rows, 1) != split(rows, 2)


def test_draws_are_pinned_since_a_change_would_move_every_row_of_every_user():
    assert hashed_uniform(["a", "b"], 1).tolist() == [0.2679100911950798, 0.044578445211008844]


def test_a_table_that_brings_test_gets_only_validation_cut():
    rows = [(str(i), "test" if i < 10 else None) for i in range(300)]
    got = split(rows)
    assert [name == "test" for name in got] == [i < 10 for i in range(300)]
    assert {"train", "validation", "test"} == set(got)


def test_a_table_that_brings_all_splits_keeps_them():
    rows = [(str(i), ("train", "validation", "test")[i % 3]) for i in range(90)]
    assert split(rows) == [s for _, s in rows]


def test_changing_the_test_fraction_moves_no_validation_row():
    rows = [(str(i), None) for i in range(500)]
    small, large = split(rows), split(rows, fractions=FRACTIONS | {"test": 0.4})
    assert [i for i, s in enumerate(small) if s == "validation"] == [
        i for i, s in enumerate(large) if s == "validation"
    ]


def test_fractions_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(InputError, match="leave nothing to train on"):
        split([("a", None)], fractions={"validation": 0.5, "test": 0.5})


@pytest.mark.parametrize("name", ["quarantine", "Test", "../test", "", "a" * 42, "té", "test\n"])
def test_a_split_name_that_cannot_be_a_file_is_refused_by_name(name):
    with pytest.raises(InputError) as error:
        check_names(strings(["train", None, name]))
    assert repr(name) in str(error.value)


def test_a_group_larger_than_the_smallest_split_to_cut_is_refused_with_its_name_rows_and_split():
    groups = strings(["big"] * 30 + [str(i) for i in range(170)])
    none = strings([None] * 200)
    with pytest.raises(InputError, match=r"group 'big': its 30 rows do not fit into validation, which is to have 20"):
        check_group_sizes(none, groups, FRACTIONS)
    check_group_sizes(none, groups, {"validation": 0.2, "test": 0.2})
    check_group_sizes(strings(["test", "validation"] * 100), groups, FRACTIONS)


def test_train_rows_of_a_group_that_is_tested_on_leak_and_others_do_not():
    split_ = pa.array(["train", "test", "train", "validation", "train", "train", "test_b", "test"])
    groups = strings(["a", "a", "b", "b", None, "c", "c", "d"])
    order, rank = ranks(split_)
    assert order == ["test", "test_b", "validation", "train"]
    priority = priorities(order, rank)
    usable = np.ones(8, dtype=bool)
    assert leaked(groups, priority, usable).tolist() == [True, False, True, False, False, True, False, False]
    usable[1] = False
    assert not leaked(groups, priority, usable)[0], "a test row that is set aside tests nothing"


def test_label_shift_is_the_distance_from_the_share_of_all():
    distance, error = label_shift(np.array([[50, 50], [9, 1], [0, 0]]))
    assert distance[1, 0] == pytest.approx(0.9 - 59 / 110)
    assert distance[2].tolist() == [0, 0]
    assert error[0, 0] == pytest.approx((59 / 110 * 51 / 110 / 100) ** 0.5)
