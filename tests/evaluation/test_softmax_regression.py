"""Softmax regression: scikit-learn's optimum, proven by its gradient."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bonafide.evaluation import softmax_regression
from bonafide.evaluation.softmax_regression import GAP, fit, learned, mean_loss, probabilities


def rows(n=300, d=12, classes=3, seed=0):
    """Correlated features with a constant last, and as many rows of each class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    mixed = rng.normal(size=(d, d)) / d
    features = (rng.normal(size=(n, d)) + np.eye(classes, d)[labels]) @ mixed
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    return np.column_stack([features, np.ones(n)]).astype(np.float32), labels


@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_it_is_scikit_learns(penalty):
    features, labels = rows()
    found = probabilities(features, fit(learned(features, labels, 3), penalty), np.zeros(3))
    oracle = LogisticRegression(C=1 / (penalty * len(labels)), fit_intercept=False, tol=1e-10, max_iter=10_000)
    assert found == pytest.approx(oracle.fit(features, labels).predict_proba(features), abs=0.01)


def test_the_gradient_proves_how_near_the_optimum_is():
    features, labels = rows()
    design = learned(features, labels, 3)
    weights, penalty = fit(design, 0.1), 0.1
    value, slope = mean_loss(design, weights)
    assert np.square(slope + penalty * weights).sum() / (2 * penalty) <= GAP
    chance = np.random.default_rng(1)
    for _ in range(20):
        other = weights + 0.1 * chance.normal(size=weights.shape)
        moved = mean_loss(design, other)[0] + penalty / 2 * np.square(other).sum()
        assert moved >= value + penalty / 2 * np.square(weights).sum() - GAP


def test_where_it_starts_from_matters_not_beyond_the_gap():
    features, labels = rows()
    design = learned(features, labels, 3)
    cold, warm = fit(design, 0.01), fit(design, 0.01, fit(design, 1.0))
    assert probabilities(features, cold, design.prior) == pytest.approx(
        probabilities(features, warm, design.prior), abs=0.02
    )


def test_a_class_that_train_lacks_has_no_probability():
    features, labels = rows()
    design = learned(features, labels, 5)
    found = probabilities(features, fit(design, 0.1), design.prior)
    assert (found[:, 3:] == 0).all()
    assert found.sum(axis=1) == pytest.approx(1)


def test_features_without_meaning_leave_the_shares_of_train():
    labels = np.array([0] * 90 + [1] * 10)
    features = np.column_stack([np.zeros(100), np.ones(100)]).astype(np.float32)
    design = learned(features, labels, 2)
    assert probabilities(features, fit(design, 1.0), design.prior) == pytest.approx(np.array([[0.9, 0.1]] * 100))


def test_fewer_rows_than_features_are_as_well_told_apart_within_what_they_span():
    features, labels = rows(n=30, d=100)
    basis = softmax_regression.span(features)
    assert basis.shape == (101, 30)
    whole, within = learned(features, labels, 3), learned(features @ basis, labels, 3)
    others, _ = rows(n=50, d=100, seed=1)
    found = probabilities(others @ basis, fit(within, 0.1), within.prior)
    assert found == pytest.approx(probabilities(others, fit(whole, 0.1), whole.prior), abs=0.02)


def test_what_has_not_converged_is_refused(monkeypatch):
    monkeypatch.setattr(softmax_regression, "MAX_ITERATIONS", 1)
    features, labels = rows()
    with pytest.raises(ArithmeticError, match="nats a row from its optimum"):
        fit(learned(features, labels, 3), 1e-3)
