"""bonafide/tasks/regression/score.py and baselines.py: sums add up to what scikit-learn measures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from threadpoolctl import threadpool_limits

from bonafide.project.paths import MODEL as MODEL_FOLDER
from bonafide.protocol import Split
from bonafide.tasks.regression import baselines, encode, model, panels, score
from bonafide.tasks.regression import train as training
from tests.tasks.regression.houses import params, parts, table

PARAMS = params()
PARTS = parts(table())
PROCESSOR = encode.fit_processor(PARTS["train"], PARAMS.task, PARAMS.tokenize)
SPLITS = {name: encode.encode(rows, PROCESSOR, None)[0] for name, rows in PARTS.items()}
SETTINGS = score.settings(PARAMS)
WHOLE = {name: Split(PARTS[name], part) for name, part in SPLITS.items()}
MODEL, _ = training.fit(PARAMS.train, SPLITS, encode.as_json(PROCESSOR))
NUMBERS = st.lists(st.tuples(st.integers(-1000, 1000), st.integers(-1000, 1000)), min_size=2, max_size=30)


def measure(answers, values):
    sums = score.row_sums(np.asarray(answers, float), np.asarray(values, float), SETTINGS)
    return score.metrics(sums.sum(axis=0), SETTINGS)


def test_by_hand():
    found = measure([100, 200, 300], [110, 200, 260])
    assert found["rmse"] == pytest.approx(np.sqrt((100 + 1600) / 3))
    assert found["mae"] == pytest.approx(50 / 3)
    assert found["r2"] == pytest.approx(1 - 1700 / 20000)
    assert found["within"] == pytest.approx(2 / 3)


def test_the_primary_metric_comes_first_and_all_are_named():
    assert [metric.name for metric in score.METRICS] == ["rmse", "mae", "r2", "within"] == list(measure([1, 2], [1, 2]))
    assert [metric.higher_is_better for metric in score.METRICS] == [False, False, True, True]


@given(NUMBERS)
def test_sums_add_up_to_scikit_learns(pairs):
    answers, values = np.array(pairs, float).T
    found = measure(answers, values)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(answers, values), rel=1e-9)
    assert found["mae"] == pytest.approx(mean_absolute_error(answers, values), rel=1e-9)
    expected = r2_score(answers, values) if np.ptp(answers) else 0.0
    assert found["r2"] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("offset", [0.0, 5e5, 1e9, -1e12])
def test_r2_keeps_its_digits_far_from_zero(offset):
    rng = np.random.default_rng(0)
    answers = np.round(rng.normal(0, 1000, 5000))
    values = answers + np.round(rng.normal(0, 300, 5000))
    exact = 1 - np.square(values - answers).sum() / np.square(answers - answers.mean()).sum()
    assert measure(answers + offset, values + offset)["r2"] == pytest.approx(exact, rel=1e-9)


def test_metrics_of_many_resamples_are_one_call():
    answers, values = SPLITS["test"]["target"], model.predict(MODEL, SPLITS["test"])
    sums = score.row_sums(answers, values, SETTINGS)
    draws = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=(3, 5))
    many = score.metrics(draws @ sums, SETTINGS)
    assert {name: found.shape for name, found in many.items()} == dict.fromkeys(many, (3, 5))
    one = score.metrics(draws[1, 2] @ sums, SETTINGS)
    drawn = np.repeat(np.arange(len(sums)), draws[1, 2])
    assert one["r2"] == pytest.approx(r2_score(answers[drawn], values[drawn]), rel=1e-9)
    assert {name: found[1, 2] for name, found in many.items()} == pytest.approx(one)


def test_one_row_and_equal_values_give_finite_metrics():
    for answers in ([5.0], [7.1e8, 7.1e8, 7.1e8]):
        assert all(np.isfinite(value) for value in measure(answers, np.add(answers, 1)).values())
        assert measure(answers, answers)["r2"] == 0


@pytest.fixture
def saved():
    model.save(MODEL_FOLDER, MODEL)


@pytest.mark.usefixtures("saved")
def test_baselines_are_fitted_on_train_and_measured_alike():
    found = baselines.predict(WHOLE, PARAMS)
    assert set(found) == {system.name for system in baselines.BASELINES} == {"mean", "closed_form", "boosting"}
    np.testing.assert_array_equal(found["mean"]["test"], np.full(40, SPLITS["train"]["target"].mean()))
    np.testing.assert_allclose(found["closed_form"]["test"], model.predict(MODEL, SPLITS["test"]), rtol=1e-6)
    quality = {name: measure(SPLITS["test"]["target"], values["test"])["rmse"] for name, values in found.items()}
    assert quality["closed_form"] < quality["boosting"] < quality["mean"]


@pytest.mark.usefixtures("saved")
def test_baselines_do_not_depend_on_threads():
    with threadpool_limits(1):
        one = baselines.predict(WHOLE, PARAMS)
    with threadpool_limits(2):
        two = baselines.predict(WHOLE, PARAMS)
    np.testing.assert_array_equal(one["boosting"]["test"], two["boosting"]["test"])


def test_a_picture_shows_the_same_rows_whatever_their_order():
    rng = np.random.default_rng(0)
    answers, values = rng.normal(size=(2, 500))
    ids, order = [f"h{i}" for i in range(500)], rng.permutation(500)
    shown = panels.predicted_against_true(ids, answers, values)
    assert len(shown["points"]) == panels.SHOWN
    assert shown == panels.predicted_against_true([ids[i] for i in order], answers[order], values[order])


def test_residuals_are_predicted_less_true():
    found = panels.residuals(np.arange(100.0), np.arange(100.0) + np.linspace(-1, 3, 100))
    assert sum(found["counts"]) == 100
    assert len(found["edges"]) == len(found["counts"]) + 1
    assert found["edges"][0] == pytest.approx(-0.96)
    assert sum(panels.residuals(np.ones(3), np.ones(3))["counts"]) == 3


def test_the_largest_errors_come_first():
    found = panels.mistakes(["a", "b", "c"], np.array([1.0, 2.0, 3.0]), np.array([1.5, 0.0, 5.0]))
    assert found["ids"] == ["b", "c", "a"]
    assert found["rows"][0] == [2.0, 0.0, -2.0]


@pytest.mark.parametrize("log_target", [False, True])
def test_a_coefficient_is_what_one_unit_changes(log_target):
    chosen = params(train__log_target=log_target).train
    found, _ = training.fit(chosen, SPLITS, encode.as_json(PROCESSOR))
    rows = panels.coefficients(found)["rows"]
    moved = {(column, unit): change for column, unit, change in rows}
    row = {"feet": 2000.0, "rooms": 3.0, "cellar": 50.0, "floor_area": 2050.0, "zip": "nowhere"}

    def value(**change):
        rows = {name: [cell] for name, cell in (row | change).items()}
        return model.predict(found, {"features": encode.design_matrix(rows, PROCESSOR)})[0]

    changes = {
        ("rooms", "1"): value(rooms=4.0),
        ("feet", "1 %"): value(feet=2020.0),
        ("zip", "98003"): value(zip="98003"),
    }
    for key, changed in changes.items():
        expected = 100 * (changed / value() - 1) if log_target else changed - value()
        assert moved[key] == pytest.approx(expected, rel=1e-6)
    assert rows[0][0] == found.processor[int(np.abs(found.weight).argmax())]["column"]
