"""How far off a weight is on average, and whether it is said in words: no share of rows, and a text among the outputs.

The columns of the sums: 1, the error, 1 where the words are right (NaN where there are none).
"""

import numpy as np
from bonafide.tasks.toy.model import words

from bonafide.evaluation.statistics import ratio
from bonafide.protocol import Metric

METRICS = (Metric("error", "mean error", higher_is_better=False), Metric("said", "words", higher_is_better=True))
RATE = None
TARGET = "weight"


def settings(params):
    """Nothing to know."""
    return {}


def comparable(outputs, settings):
    """As they are."""
    return outputs, settings


def row_sums(targets, outputs, settings):
    """One, the error, and whether the words are those of the truth."""
    said = zip(outputs["words"], targets, strict=True)
    right = [np.nan if found is None else found == words(weight) for found, weight in said]
    return np.stack([np.ones(len(targets)), np.abs(targets - outputs["weight"]), right], axis=1)


def metrics(sums, settings):
    """Means."""
    return {"error": ratio(sums[..., 1], sums[..., 0]), "said": ratio(sums[..., 2], sums[..., 0])}
