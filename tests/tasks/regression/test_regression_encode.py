"""bonafide/tasks/regression/encode.py: the design matrix is standardised on train and nothing else shapes it."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.project.errors import InputError
from bonafide.tasks.regression import encode
from tests.tasks.regression.houses import params, parts, put, table

PARAMS = params()
PARTS = parts(table())
PROCESSOR = encode.fit_processor(PARTS["train"], PARAMS.task, PARAMS.tokenize)


def test_train_has_mean_0_and_deviation_1_in_every_column():
    found = encode.encode(PARTS["train"], PROCESSOR, None)[0]
    assert found["features"].shape == (320, 9)
    assert found["features"].dtype == found["target"].dtype == np.float64
    np.testing.assert_allclose(found["features"].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found["features"].std(axis=0), 1, rtol=1e-12)
    np.testing.assert_array_equal(found["target"], PARTS["train"]["target"].to_numpy())


def test_golden():
    rows = {"target": [1.0, 2.0, 3.0, 4.0], "feet": [1.0, np.e, np.e, np.e**2], "zip": ["b", "a", "b", "c"]}
    chosen = params(task__numbers=["feet"], tokenize__min_category_rows=1)
    found = encode.design_matrix(rows, encode.fit_processor(rows, chosen.task, chosen.tokenize))
    half, third = np.sqrt(2), 1 / np.sqrt(3)
    np.testing.assert_allclose(
        found,
        [[-half, -third, 1, -third], [0, 3 * third, -1, -third], [0, -third, 1, -third], [half, -third, -1, 3 * third]],
    )


def test_values_come_back():
    raw = encode.design_matrix(PARTS["test"], PROCESSOR)
    for column, feature in zip(raw.T, PROCESSOR, strict=True):
        values = column * feature.deviation + feature.mean
        if feature.value is None:
            values = np.exp(values) if feature.logarithm else values
            np.testing.assert_allclose(values, PARTS["test"][feature.column].to_numpy(), rtol=1e-12)
        else:
            np.testing.assert_allclose(values, np.array(PARTS["test"]["zip"].to_pylist()) == feature.value, atol=1e-12)


def test_only_train_shapes_the_processor():
    changed = put(table(), "feet", table()["feet"].to_numpy() * np.where(np.arange(400) % 10 < 2, 50, 1))
    assert encode.fit_processor(parts(changed)["train"], PARAMS.task, PARAMS.tokenize) == PROCESSOR


@given(st.permutations(range(60)))
def test_the_order_of_rows_changes_last_bits_at_most(order):
    rows = PARTS["train"].slice(0, 60)
    for one, other in zip(
        encode.fit_processor(rows, PARAMS.task, PARAMS.tokenize),
        encode.fit_processor(rows.take(pa.array(order)), PARAMS.task, PARAMS.tokenize),
        strict=True,
    ):
        assert (one.column, one.value) == (other.column, other.value)
        np.testing.assert_allclose([one.mean, one.deviation], [other.mean, other.deviation], rtol=1e-12)


def test_rare_and_unseen_categories_are_all_zeros():
    train = PARTS["train"]
    names = ["rare", "rare", *train["zip"].to_pylist()[2:]]
    processor = encode.fit_processor(put(train, "zip", names), PARAMS.task, PARAMS.tokenize)
    indicators = [feature.value is not None for feature in processor]
    assert [feature.value for feature in processor][4:] == ["98001", "98002", "98003", "98004", "98005"]
    found = encode.design_matrix(put(PARTS["test"].slice(0, 3), "zip", ["rare", "new", None]), processor)[:, indicators]
    zeros = [-f.mean / f.deviation for f in processor if f.value is not None]
    np.testing.assert_array_equal(found, [zeros] * 3)


def test_categories_are_spelled_as_names():
    rows = PARTS["test"].slice(0, 4)
    spelled = put(rows, "zip", ["98001"] * 4)
    as_given = {name: spelled[name].to_pylist() for name in spelled.column_names} | {
        "zip": [98001, 98001.0, " 98001 ", np.float64(98001)]
    }
    np.testing.assert_array_equal(encode.design_matrix(as_given, PROCESSOR), encode.design_matrix(spelled, PROCESSOR))


def test_the_processor_survives_json(tmp_path):
    assert encode.prepare(tmp_path, PARTS["train"], PARAMS, tmp_path) == PROCESSOR
    first = (tmp_path / "processor.json").read_bytes()
    assert encode.from_json(json.loads(first)) == PROCESSOR
    encode.prepare(tmp_path, PARTS["train"], PARAMS, tmp_path)
    assert (tmp_path / "processor.json").read_bytes() == first
    assert json.loads(first)[0]["column"] == "feet"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rooms": [1.0, float("nan")]}, "^row 2: 'rooms' is not a finite number$"),
        ({"rooms": [None, 1.0]}, "^row 1: 'rooms' is not a finite number$"),
        ({"rooms": ["two", 1]}, "^the column 'rooms' does not hold numbers alone$"),
        ({"feet": [10.0, 0.0]}, "^row 2: 'feet' is 0, and its logarithm is a feature$"),
        ({"zip": None}, "^the column 'zip' is missing$"),
    ],
)
def test_rows_that_cannot_be_encoded_are_told(change, message):
    rows = {name: PARTS["test"][name].to_pylist()[:2] for name in ("feet", "rooms", "cellar", "floor_area", "zip")}
    rows = {name: values for name, values in (rows | change).items() if values is not None}
    with pytest.raises(InputError, match=message):
        encode.design_matrix(rows, PROCESSOR)
