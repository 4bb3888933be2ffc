"""How far off a weight is on average."""

import numpy as np

from bonafide.protocol import Metric

METRICS = (Metric("error", "mean error", higher_is_better=False), Metric("near", "near", higher_is_better=True))
RATE = "near"
TARGET = "weight"


def settings(params):
    """Nothing to know."""
    return {}


def comparable(outputs, settings):
    """As they are."""
    return outputs, settings


def row_sums(targets, outputs, settings):
    """One, the error, and whether it is below 100."""
    error = np.abs(targets - outputs)
    return np.stack([np.ones(len(error)), error, error < 100], axis=1)


def metrics(sums, settings):
    """Means."""
    return {"error": sums[..., 1] / sums[..., 0], "near": sums[..., 2] / sums[..., 0]}
