"""The scores of classified images: those of scikit-learn, and the laws that they keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from bonafide.tasks.image_classification import score


def settings(classes, bins=5):
    return {"labels": [f"class {index}" for index in range(classes)], "calibration_bins": bins}


def measured(labels, probabilities, bins=5):
    known = settings(probabilities.shape[1], bins)
    targets = np.array(known["labels"], dtype=object)[labels]
    found = score.metrics(score.row_sums(targets, probabilities, known).sum(axis=0), known)
    return {name: float(value) for name, value in found.items()}


def make(case):
    """Labels and probabilities; with `levels` many are equal."""
    rows, classes, levels, seed = case
    rng = np.random.default_rng(seed)
    raw = rng.integers(1, levels + 1, (rows, classes)) if levels else rng.random((rows, classes))
    return rng.integers(classes, size=rows), raw / raw.sum(axis=1, keepdims=True)


cases = st.tuples(st.integers(1, 40), st.integers(2, 12), st.sampled_from([0, 1, 2, 5]), st.integers(0, 2**32 - 1)).map(
    make
)


def test_accuracy_is_the_primary_metric_and_each_is_measured():
    assert score.METRICS[0].name == score.RATE == "accuracy"
    found = measured(*make((30, 10, 0, 1)))
    assert set(found) == {metric.name for metric in score.METRICS}


@given(cases)
def test_the_best_class_is_among_the_five_best(case):
    found = measured(*case)
    if case[1].shape[1] > 5:
        assert found["accuracy"] <= found["top5"] <= 1
    else:
        assert np.isnan(found["top5"])


@given(st.tuples(st.integers(12, 60), st.integers(6, 12), st.just(0), st.integers(0, 2**32 - 1)).map(make))
def test_it_agrees_with_scikit_learn(case):
    labels, probabilities = case
    expected = top_k_accuracy_score(labels, probabilities, k=5, labels=np.arange(probabilities.shape[1]))
    assert measured(*case)["top5"] == pytest.approx(expected)


@given(cases, st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_nothing(case, seed):
    labels, probabilities = case
    order = np.random.default_rng(seed).permutation(len(labels))
    assert measured(labels[order], probabilities[order]) == pytest.approx(measured(*case), nan_ok=True)


@given(cases)
def test_each_label_has_a_rank_of_its_own(case):
    """So that of equal probabilities exactly five classes are the best, whatever the label is."""
    _, probabilities = case
    rows, classes = probabilities.shape
    ranks = np.stack([score.ranks(np.full(rows, label), probabilities) for label in range(classes)], axis=1)
    assert (np.sort(ranks, axis=1) == np.arange(classes)).all()
    assert (ranks.argmin(axis=1) == probabilities.argmax(axis=1)).all()


def test_of_equal_classes_the_first_five_are_the_best():
    even = np.full((7, 7), 1 / 7)
    assert score.ranks(np.arange(7), even).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert measured(np.arange(7), even)["top5"] == pytest.approx(5 / 7)


def test_classes_in_another_order_are_comparable():
    labels, probabilities = make((20, 7, 0, 3))
    known = settings(7)
    order = np.random.default_rng(0).permutation(7)
    turned = {"labels": [known["labels"][index] for index in order], "calibration_bins": 9}
    ours, theirs = score.comparable(probabilities, known), score.comparable(probabilities[:, order], turned)
    assert (ours[0] == theirs[0]).all()
    assert ours[1] == theirs[1]
    targets = np.array(known["labels"], dtype=object)[labels]
    found = score.metrics(score.row_sums(targets, *ours).sum(axis=0), ours[1])
    expected = measured(labels, probabilities)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {name: value for name, value in expected.items() if name != "calibration_error"}
    )


@pytest.mark.parametrize("outputs", [np.ones((3, 2)), np.full((3, 3), -1.0), np.full((3, 3), np.nan), np.ones(3)])
def test_what_is_no_probability_is_refused(outputs):
    with pytest.raises(ValueError, match="no probabilities"):
        score.row_sums(np.array(["class 0"] * 3, dtype=object), outputs, settings(3))
