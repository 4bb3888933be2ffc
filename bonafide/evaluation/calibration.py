"""Calibration: whether a model that says 0.9 is right nine times in ten."""

import numpy as np

from bonafide.evaluation.classification_metrics import bin_of
from bonafide.evaluation.statistics import wilson
from bonafide.project.arrays import Floats, Ints

Bin = dict[str, float]


def reliability(labels: Ints, probabilities: Floats, bins: int) -> list[Bin]:
    """Rows, mean confidence, and accuracy with its Wilson interval, of every bin that has rows."""
    confidence = probabilities.max(axis=1)
    hits = probabilities.argmax(axis=1) == labels
    bin_index = bin_of(confidence, bins)
    rows = np.bincount(bin_index, minlength=bins)
    sure = np.bincount(bin_index, weights=confidence, minlength=bins)
    right = np.bincount(bin_index, weights=hits, minlength=bins)
    table = []
    for n, c, h in zip(rows.tolist(), sure.tolist(), right.tolist(), strict=True):
        if n:
            low, high = wilson(h, n)
            table.append({"rows": n, "confidence": c / n, "accuracy": h / n, "low": low, "high": high})
    return table
