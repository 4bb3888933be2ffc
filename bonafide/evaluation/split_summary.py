"""What evaluation.json says of one split, whatever the task: metrics, comparisons, slices."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bonafide.evaluation.estimates import Measure, Sums, headline, rate_of
from bonafide.evaluation.paired_tests import Difference
from bonafide.evaluation.predictions import Predictions
from bonafide.evaluation.slices import Slice
from bonafide.evaluation.verdict import describe, difference_of
from bonafide.project.arrays import Ints
from bonafide.project.randomness import generator
from bonafide.protocol import MODEL_SYSTEM, Score

Facts = dict[str, Any]


def differences(
    name: str, sums: Mapping[str, Sums], score: Score, measure: Measure, seed: int
) -> dict[str, Difference]:
    """How much better the model is than each baseline, by the primary metric."""
    return {
        baseline: difference_of(score.METRICS[0], sums[MODEL_SYSTEM], theirs, measure, generator(seed, name, baseline))
        for baseline, theirs in sums.items()
        if baseline != MODEL_SYSTEM
    }


def summarise(
    split: Predictions,
    sums: Mapping[str, Sums],
    found: Mapping[str, Difference],
    score: Score,
    measure: Measure,
) -> Facts:
    """Every system's metrics, and the model beside each baseline."""
    right = {system: hits(one, measure, score.RATE) for system, one in sums.items()}
    return {
        "rows": len(split.ids),
        "groups": len(set(split.groups)),
        "systems": {system: headline(one, measure, score.METRICS, score.RATE) for system, one in sums.items()},
        "comparisons": {
            baseline: describe(score.METRICS[0], difference, right[MODEL_SYSTEM], right[baseline])
            for baseline, difference in found.items()
        },
    }


def hits(sums: Sums, measure: Measure, rate: str) -> Ints:
    """Whether each row counts as right, (n,) 0 or 1: the rate of that row alone."""
    found: Ints = measure(sums.rows)[rate].astype(np.int64)
    return found


def summarise_slice(piece: Slice, sums: Sums, score: Score, measure: Measure, min_rows: int) -> Facts:
    """The model on one slice: the primary metric, and the rate with its interval."""
    rows = sums.rows[piece.rows]
    primary = score.METRICS[0].name
    return {
        "column": piece.column,
        "value": piece.value,
        "rows": len(rows),
        "small": len(rows) < min_rows,
        primary: float(measure(rows.sum(axis=0))[primary]),
        score.RATE: rate_of(rows, measure, score.RATE),
    }
