"""Metrics against scikit-learn, and the laws they keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from bonafide.evaluation.calibration import reliability
from bonafide.evaluation.classification_metrics import bin_of, from_sums, per_class, row_sums
from bonafide.project.randomness import generator


def cases(max_rows=60):
    """Labels and probabilities of 2 to 5 classes; not every class has a row."""
    return st.tuples(st.integers(1, max_rows), st.integers(2, 5), st.integers(0, 2**32 - 1)).map(make)


def headline(labels, probabilities, bins):
    found = from_sums(row_sums(labels, probabilities, bins).sum(axis=0), probabilities.shape[1])
    return {name: float(value) for name, value in found.items()}


def score(labels, probabilities):
    return headline(labels, probabilities, bins=0)


def make(case):
    rows, classes, seed = case
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), size=rows)
    return rng.integers(classes, size=rows), probabilities


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(cases())
def test_metrics_agree_with_scikit_learn(case):
    labels, probabilities = case
    predictions, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    present = {"labels": np.unique(labels), "average": "macro", "zero_division": 0}
    eye = np.eye(classes)[labels]
    expected = {
        "accuracy": oracle.accuracy_score(labels, predictions),
        "precision_macro": oracle.precision_score(labels, predictions, **present),
        "recall_macro": oracle.recall_score(labels, predictions, **present),
        "f1_macro": oracle.f1_score(labels, predictions, **present),
        "mcc": oracle.matthews_corrcoef(labels, predictions),
        "log_loss": oracle.log_loss(labels, probabilities, labels=range(classes)),
        "brier": np.square(probabilities - eye).sum(axis=1).mean(),
    }
    assert score(labels, probabilities) == pytest.approx(expected, abs=1e-9)


@given(cases())
def test_metrics_of_classes_agree_with_scikit_learn(case):
    labels, probabilities = case
    classes = range(probabilities.shape[1])
    ours = per_class(row_sums(labels, probabilities).sum(axis=0), len(classes))
    theirs = oracle.precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=classes, zero_division=0
    )
    assert np.stack([ours["precision"], ours["recall"], ours["f1"]]) == pytest.approx(np.stack(theirs[:3]))


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_metric(case, chance):
    labels, probabilities = case
    order = list(range(len(labels)))
    chance.shuffle(order)
    first = headline(labels, probabilities, bins=5)
    assert headline(labels[order], probabilities[order], bins=5) == pytest.approx(first, abs=1e-12)


@settings(max_examples=30)
@given(cases(), st.integers(1, 4))
def test_repeated_rows_change_no_metric(case, times):
    labels, probabilities = case
    again = score(np.tile(labels, times), np.tile(probabilities, (times, 1)))
    assert again == pytest.approx(score(labels, probabilities), abs=1e-9)


def test_a_perfect_system_has_ideal_metrics():
    labels = np.array([0, 1, 2, 1])
    ideal = dict.fromkeys(("accuracy", "precision_macro", "recall_macro", "f1_macro", "mcc"), 1)
    assert headline(labels, np.eye(3)[labels], bins=10) == pytest.approx(
        ideal | {"log_loss": 0, "brier": 0, "calibration_error": 0}
    )


def test_a_split_of_one_class_is_measured_on_that_class():
    labels, probabilities = np.ones(4, dtype=np.int64), np.array([[0.1, 0.9]] * 3 + [[0.8, 0.2]])
    found = score(labels, probabilities)
    assert found["recall_macro"] == 0.75
    assert found["f1_macro"] == pytest.approx(6 / 7)
    assert found["mcc"] == 0


def test_certainty_in_the_wrong_class_has_a_finite_log_loss():
    assert score(np.array([0]), np.array([[0.0, 1.0]]))["log_loss"] == pytest.approx(36.04, abs=0.01)


@given(cases(), st.integers(2, 20))
def test_the_calibration_error_is_the_mean_distance_between_confidence_and_accuracy(case, bins):
    labels, probabilities = case
    table = reliability(labels, probabilities, bins)
    expected = sum(row["rows"] * abs(row["confidence"] - row["accuracy"]) for row in table) / len(labels)
    assert headline(labels, probabilities, bins)["calibration_error"] == pytest.approx(expected, abs=1e-12)
    assert sum(row["rows"] for row in table) == len(labels)
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in table)


def test_bins_hold_equally_many_rows_and_equal_confidences_share_one():
    assert np.bincount(bin_of(generator(1).random(1000), 10)).tolist() == [100] * 10
    assert bin_of(np.array([0.7, 0.9, 0.7, 0.7, 0.9, 0.7]), 3).tolist() == [0, 2, 0, 0, 2, 0]


def test_a_system_that_is_always_equally_sure_is_off_by_its_mean_error():
    labels = np.array([0, 0, 0, 1])
    assert headline(labels, np.tile([0.6, 0.4], (4, 1)), bins=10)["calibration_error"] == pytest.approx(0.15)
