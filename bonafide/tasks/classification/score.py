"""How a classifier is measured."""

from typing import Literal

from bonafide.evaluation.metrics import from_sums, row_sums
from bonafide.project.arrays import Floats, Ints, Metrics

PRIMARY_METRIC: tuple[str, Literal["max", "min"]] = ("f1_macro", "max")


def score(labels: Ints, predictions: Floats) -> Metrics:
    """Accuracy, macro precision, recall and F1, MCC, log-loss and Brier score of class probabilities (n, classes)."""
    sums = row_sums(labels, predictions).sum(axis=0)
    return {name: float(value) for name, value in from_sums(sums, predictions.shape[1]).items()}
