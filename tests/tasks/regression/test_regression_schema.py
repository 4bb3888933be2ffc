"""bonafide/tasks/regression/schema.py: each fault, planted, is found, and the sound table passes."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from bonafide.quality.expectations import run_suite, strict
from bonafide.tasks.regression import schema
from tests.tasks.regression.houses import params, put, table

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")

PARAMS = params()


def expectations(tolerance):
    return schema.expectations(PARAMS.task, replace(PARAMS.validate, max_quarantine_fraction=tolerance))


SOUND = table()


def test_columns_are_the_target_then_numbers_then_categories():
    assert list(PARAMS.task.columns.items()) == [
        ("target", "number"),
        ("feet", "number"),
        ("rooms", "number"),
        ("cellar", "number"),
        ("floor_area", "number"),
        ("zip", "category"),
    ]


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("rooms", [None, 2.0], "missing_number"),
        ("rooms", [float("nan"), 2.0], "not_a_number"),
        ("target", [float("inf"), 2.0], "infinite_number"),
        ("target", [0.0, 2.0], "out_of_range"),
        ("feet", [1e7, 2.0], "out_of_range"),
        ("zip", [None, "98001"], "missing_category"),
    ],
)
def test_a_row_with_a_fault_is_told_by_its_reason_alone(name, values, reason):
    found = schema.faults(put(SOUND.slice(0, 2), name, values), PARAMS.task, PARAMS.validate)
    assert {key: mask.tolist() for key, mask in found.items() if mask.any()} == {reason: [True, False]}


def test_the_sound_table_has_no_faults_and_fails_no_expectation():
    assert not any(mask.any() for mask in schema.faults(SOUND, PARAMS.task, PARAMS.validate).values())
    found, _ = run_suite(SOUND, strict(expectations(0.0)), "rows")
    assert [check.broken() for check in found if not check.passed] == []


def test_expectations_name_the_column_that_breaks_them():
    broken = SOUND
    for name, value in (("target", 0.0), ("rooms", None), ("cellar", float("inf"))):
        broken = put(broken, name, [value, *broken[name].to_pylist()[1:]])
    found, _ = run_suite(broken, expectations(0.0), "rows")
    assert [check.name for check in found if not check.passed] == [
        "expect_column_values_to_be_between(target)",
        "expect_column_values_to_not_be_null(rooms)",
        "expect_column_values_to_be_between(cellar)",
    ]
    tolerant, _ = run_suite(broken, expectations(0.01), "rows")
    assert all(check.passed for check in tolerant)


def test_rows_that_are_equal_in_target_and_features_are_the_same():
    twice = pa.concat_tables([SOUND.slice(0, 3), SOUND.slice(1, 1)])
    keys = schema.examine(twice, PARAMS).identity.to_pylist()
    assert keys[1] == keys[3]
    assert len(set(keys)) == 3


def failing(changed, **changes):
    return [check.broken() for check in schema.checks(changed, params(**changes)) if not check.passed]


def reported(changed):
    return {(check.name, check.rows): check.detail for check in schema.checks(changed, PARAMS) if check.detail}


def test_the_sound_table_passes_with_its_collinear_columns_named():
    assert failing(SOUND) == []
    [(where, detail)] = reported(SOUND).items()
    assert where == ("collinearity", "train")
    assert detail == "rank 3 of 4: each of 'feet', 'cellar', 'floor_area' is a sum of others"


def test_too_few_rows_are_told_before_anything_else():
    [line] = failing(SOUND.slice(0, 200))
    assert line == (
        "rows_in_splits, splits: expected that train, validation and test have at least 30 rows; validation has 20, "
        "test has 20; validate.min_rows: 30 decides, 20 would let these data pass"
    )


def test_a_constant_column_is_refused():
    [line] = failing(put(SOUND, "rooms", [3.0] * 400))
    assert "'rooms' has one value: take it out of task.numbers" in line
    [line] = failing(put(SOUND, "zip", ["98001"] * 400))
    assert "'zip' has one value" in line


@pytest.mark.parametrize("leak", [lambda y: y * 0.9 + 10, np.log, lambda y: 1e9 / y])
def test_a_column_that_holds_the_target_is_refused(leak):
    target = SOUND["target"].to_numpy()
    [line] = failing(put(SOUND, "rooms", leak(target)))
    assert "'rooms' has 1.0000: take it out of task.numbers" in line
    assert "validate.max_target_correlation: 0.98 decides" in line


def test_a_category_made_of_the_target_is_refused():
    bands = np.digitize(SOUND["target"].to_numpy(), np.quantile(SOUND["target"].to_numpy(), np.arange(0.02, 1, 0.02)))
    [line] = failing(put(SOUND, "zip", [f"band {band}" for band in bands]))
    assert "target_leak" in line
    assert "'zip' has 0.99" in line


def test_an_id_as_a_category_is_refused():
    lines = failing(put(SOUND, "zip", [f"house {i // 2}" for i in range(400)]), validate__max_target_correlation=1)
    assert ["id_as_feature, train" in line for line in lines] == [True]
    assert "'zip' has 160 values in 320 rows: take it out of task.categories" in lines[0]


@pytest.mark.parametrize("factor", [0.0929, 10.764])
def test_a_unit_that_changes_is_refused_with_its_split(factor):
    is_test = np.array(SOUND["split"].to_pylist()) == "test"
    [line] = failing(put(SOUND, "cellar", np.where(is_test, factor, 1) * SOUND["cellar"].to_numpy()))
    assert line.startswith("unit_change, test: expected that no column's median is more than 3 times train's")
    assert "times train's: convert it in the table; validate.max_median_ratio: 3.0 decides" in line


def test_a_category_that_train_lacks_is_reported():
    lacking = [["98001", "new"][split == "test" and i < 50] for i, split in enumerate(SOUND["split"].to_pylist())]
    lacking[1:10] = ["98002"] * 9
    found = reported(put(SOUND, "zip", lacking))
    assert found["unseen_category", "test"] == "5 rows by 'zip'"
    assert ("unseen_category", "validation") not in found


def test_a_value_far_out_is_reported():
    rooms = SOUND["rooms"].to_numpy().copy()
    rooms[2] = 330
    assert reported(put(SOUND, "rooms", rooms))["outliers", "train"].startswith("at most 'rooms' by 18")


def test_what_is_offered_lets_the_table_pass():
    target = SOUND["target"].to_numpy()
    noise = np.random.default_rng(0).normal(0, 0.1 * target.std(), 400)
    leaking = put(SOUND, "rooms", target + noise)
    [check] = [check for check in schema.checks(leaking, PARAMS) if not check.passed]
    assert failing(leaking, validate__max_target_correlation=check.passing) == []
