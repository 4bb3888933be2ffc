"""regression/train.py and model.py: gradient descent is the essay's, is the closed form in the end, and says so."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bonafide.project.errors import InputError
from bonafide.tasks.regression import encode, model, serve
from bonafide.tasks.regression import train as training
from tests.tasks.regression.houses import params, parts, table

PARAMS = params()
PARTS = parts(table())
PROCESSOR = encode.fit_processor(PARTS["train"], PARAMS.task, PARAMS.tokenize)
SPLITS = {name: encode.encode(rows, PROCESSOR, None)[0] for name, rows in PARTS.items()}
FEATURES = encode.as_json(PROCESSOR)
PLAIN = replace(PARAMS.train, acceleration="none")


def test_two_steps_by_hand():
    """X = (1, 2), y = (3, 5), a = 0.1: w = 0.65, b = 0.4, then w = 1.065, b = 0.6525."""
    steps = training.gradient_descent(np.array([[1.0], [2.0]]), np.array([3.0, 5.0]), replace(PLAIN, learning_rate=0.1))
    first, second, third = itertools.islice(steps, 3)
    assert (first[1][0], first[2]) == (0.0, 0.0)
    assert (second[1][0], second[2]) == pytest.approx((0.65, 0.4))
    # errors there: 0.65 + 0.4 - 3 = -1.95 and 1.3 + 0.4 - 5 = -3.3
    assert (third[1][0], third[2]) == pytest.approx((0.65 + 0.1 * (1.95 + 6.6) / 2, 0.4 + 0.1 * 5.25 / 2))


@st.composite
def problems(draw):
    """Inputs (m, d) with columns of scales up to 30 apart, some of them sums of others, and outputs (m,)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, d = draw(st.integers(3, 60)), draw(st.integers(1, 6))
    inputs = rng.normal(size=(m, d)) * np.logspace(0, draw(st.floats(0, 1.5)), d)
    if draw(st.booleans()):
        inputs = np.column_stack([inputs, inputs.sum(axis=1), rng.integers(0, 2, (m, 2))])
    return inputs, inputs @ rng.normal(size=inputs.shape[1]) * draw(st.floats(0, 1)) + rng.normal(size=m)


@given(problems(), st.sampled_from(["none", "nesterov"]))
def test_gradient_descent_ends_within_the_tolerance_of_the_closed_form(problem, acceleration):
    inputs, outputs = problem
    curvature = training.measure_curvature(inputs)
    assume(curvature.largest / curvature.least < (1e6 if acceleration == "nesterov" else 1e4))
    check_descent(inputs, outputs, replace(PARAMS.train, acceleration=acceleration, max_steps=10**6, tolerance=1e-5))


@pytest.mark.parametrize("apart", [1e-3, 1e-9, 0])
def test_columns_may_be_nearly_or_wholly_equal(apart):
    """1e-3 apart the condition is 1e7; 1e-9 apart they are one for both solvers."""
    rng = np.random.default_rng(0)
    column, other = rng.normal(size=(2, 50))
    inputs = np.column_stack([column, column + apart * other])
    check_descent(inputs, column + rng.normal(size=50), replace(PARAMS.train, max_steps=10**6))


def check_descent(inputs, outputs, params):
    *_, (_, weight, bias) = training.gradient_descent(inputs, outputs, params)
    exact = model.linear(inputs, *model.closed_form(inputs, outputs))
    assert np.abs(model.linear(inputs, weight, bias) - exact).max() <= params.tolerance


def test_the_closed_form_agrees_with_scikit_learn_where_columns_are_collinear():
    from sklearn.linear_model import LinearRegression

    inputs = SPLITS["train"]["features"]
    outputs = np.log(SPLITS["train"]["target"])
    theirs = LinearRegression().fit(inputs, outputs).predict(inputs)
    np.testing.assert_allclose(model.linear(inputs, *model.closed_form(inputs, outputs)), theirs, rtol=1e-10)


@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("acceleration", ["none", "nesterov"])
def test_both_solvers_predict_the_same(acceleration, log_target):
    params = replace(PARAMS.train, acceleration=acceleration, log_target=log_target)
    descended, history = training.fit(params, SPLITS, FEATURES)
    exact, [only] = training.fit(replace(params, solver="closed_form"), SPLITS, FEATURES)
    for part in SPLITS.values():
        values, others = (model.predict(found, part) for found in (descended, exact))
        closeness = {"rtol": 1e-6} if log_target else {"rtol": 0, "atol": 1e-6 * descended.target.deviation}
        np.testing.assert_allclose(values, others, **closeness)
    assert history[0]["train_loss"] == pytest.approx(1)
    assert history[-1]["train_loss"] == pytest.approx(only["train_loss"], rel=1e-9)
    assert list(only) == ["step", "train_loss", "validation_loss", "test_loss"]


def test_acceleration_takes_fewer_steps():
    steps = [
        training.fit(replace(PARAMS.train, acceleration=a), SPLITS, FEATURES)[1][-1]["step"]
        for a in ("nesterov", "none")
    ]
    assert steps[0] < steps[1] / 3


def test_curves_have_steps_of_two_digits():
    shown = [step for step in range(1300) if training.is_shown(step)]
    assert shown == [*range(100), *range(100, 1000, 10), 1000, 1100, 1200]


@pytest.mark.parametrize(("acceleration", "factor", "words"), [("none", 2, "2/L"), ("nesterov", 4 / 3, "4/(3 L)")])
def test_a_learning_rate_that_diverges_is_told_with_one_that_does_not(acceleration, factor, words):
    largest = training.measure_curvature(SPLITS["train"]["features"]).largest
    params = replace(PARAMS.train, acceleration=acceleration, learning_rate=2.5 / largest)
    with pytest.raises(InputError) as caught:
        training.fit(params, SPLITS, FEATURES)
    key = f"train.learning_rate: {2.5 / largest:g}"
    assert str(caught.value) == f"{key} diverges; below {words} = {factor / largest:.4g} it does not"
    below = replace(params, learning_rate=0.999 * factor / largest, max_steps=10**5)
    assert training.fit(below, SPLITS, FEATURES)[1][-1]["train_loss"] < 0.1


@given(st.floats(0.01, 5), st.floats(0, 0.999))
def test_a_rate_is_refused_exactly_where_its_steps_grow(rate, momentum):
    """Along the largest curvature, here 1, an error is multiplied by the roots of the recurrence's polynomial."""
    largest = np.abs(np.roots([1, -(1 + momentum) * (1 - rate), momentum * (1 - rate)])).max(initial=0)
    assume(abs(largest - 1) > 1e-6)
    try:
        training.check_rate(rate, momentum, training.Curvature(1.0, 0.5))
    except InputError:
        assert largest > 1
    else:
        assert largest < 1


def test_too_few_steps_are_told():
    with pytest.raises(InputError, match=r"^train.max_steps: after 5 a prediction may be [\d.e+-]+ deviations "):
        training.fit(replace(PARAMS.train, max_steps=5), SPLITS, FEATURES)


@given(st.permutations(range(40)))
def test_the_order_of_rows_changes_last_bits_at_most(order):
    train = {name: values[:40] for name, values in SPLITS["train"].items()}
    shuffled = {name: values[list(order)] for name, values in train.items()}
    params = replace(PARAMS.train, solver="closed_form")
    one, other = (training.fit(params, {"train": part}, FEATURES)[0] for part in (train, shuffled))
    np.testing.assert_allclose(model.predict(one, SPLITS["test"]), model.predict(other, SPLITS["test"]), rtol=1e-9)


def test_smearing_makes_the_mean_of_train_right():
    """Duan's estimator is for errors that do not depend on the prediction, as here."""
    found, _ = training.fit(PARAMS.train, SPLITS, FEATURES)
    values = model.predict(found, SPLITS["train"])
    assert found.target.smearing > 1
    assert values.mean() == pytest.approx(SPLITS["train"]["target"].mean(), rel=0.003)
    assert (values / found.target.smearing).mean() < 0.997 * SPLITS["train"]["target"].mean()


def test_equal_runs_give_equal_bytes_and_a_reading_gives_equal_predictions(tmp_path):
    found, _ = training.fit(PARAMS.train, SPLITS, FEATURES)
    for folder in ("a", "b"):
        model.save(tmp_path / folder, training.fit(PARAMS.train, SPLITS, FEATURES)[0])
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    read = model.load(tmp_path / "a")
    np.testing.assert_array_equal(model.predict(read, SPLITS["test"]), model.predict(found, SPLITS["test"]))


def test_rows_as_they_come_give_the_bits_of_encoded_ones_alone_or_together(tmp_path):
    found, _ = training.fit(PARAMS.train, SPLITS, FEATURES)
    model.save(tmp_path, found)
    read = serve.load(tmp_path)
    rows, expected = PARTS["test"].drop_columns("target"), model.predict(found, SPLITS["test"])
    np.testing.assert_array_equal(read.predict(rows), expected)
    np.testing.assert_array_equal(read.predict(rows.to_pandas()), expected)
    alone = [
        read.predict({name: rows[name].to_pylist()[i : i + 1] for name in rows.column_names})[0] for i in range(40)
    ]
    np.testing.assert_array_equal(alone, expected)


def test_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="not a bonafide-linear-regression of version 1"):
        model.load(tmp_path)


def test_predicting_loads_neither_torch_nor_transformers(tmp_path):
    model.save(tmp_path, training.fit(PARAMS.train, SPLITS, FEATURES)[0])
    rows = json.dumps(
        {name: PARTS["test"][name].to_pylist()[:1] for name in ("feet", "rooms", "cellar", "floor_area", "zip")}
    )
    code = (
        "import sys; from bonafide.tasks.regression import serve;"
        f"print(serve.load({str(tmp_path)!r}).predict({rows})[0],"
        "[name for name in ('torch', 'transformers', 'sklearn', 'pandas', 'mlflow') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"{serve.load(tmp_path).predict(PARTS['test'])[0]} []\n"


def test_a_constant_target_is_predicted():
    train = SPLITS["train"] | {"target": np.full(320, 7.0)}
    found, _ = training.fit(PARAMS.train, {"train": train}, FEATURES)
    np.testing.assert_allclose(model.predict(found, SPLITS["test"]), 7)


def test_a_table_without_the_target_is_predicted(tmp_path):
    model.save(tmp_path, training.fit(PARAMS.train, SPLITS, FEATURES)[0])
    assert serve.load(str(tmp_path)).predict(pa.table(PARTS["test"]).drop_columns("target")).shape == (40,)
