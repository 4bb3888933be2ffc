"""What evaluation.json says of one split, whatever the task: metrics, comparisons, slices."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bonafide.evaluation.estimates import Measure, Sums, headline
from bonafide.evaluation.paired_tests import Difference
from bonafide.evaluation.predictions import Predictions
from bonafide.evaluation.slices import Slice
from bonafide.evaluation.statistics import bootstrap, by_group, mcnemar
from bonafide.evaluation.verdict import as_facts, difference_of
from bonafide.project.arrays import Ints
from bonafide.project.randomness import generator
from bonafide.protocol import MODEL_SYSTEM, Score

Facts = dict[str, Any]


def differences(
    name: str, sums: Mapping[str, Sums], score: Score, measure: Measure, seed: int
) -> dict[str, Difference]:
    """How much better the model is than each baseline, by the primary metric, where both have one."""
    primary = score.METRICS[0]
    return {
        baseline: difference_of(primary, sums[MODEL_SYSTEM], theirs, measure, generator(seed, name, baseline))
        for baseline, theirs in sums.items()
        if baseline != MODEL_SYSTEM
        and np.isfinite([measure(one.total)[primary.name] for one in (sums[MODEL_SYSTEM], theirs)]).all()
    }


def summarise(
    split: Predictions,
    sums: Mapping[str, Sums],
    found: Mapping[str, Difference],
    score: Score,
    measure: Measure,
) -> Facts:
    """Every system's metrics, and the model beside each baseline."""
    right = {system: hits(one, measure, score.RATE) for system, one in sums.items()} if score.RATE else {}
    return {
        "rows": len(split.ids),
        "groups": len(set(split.groups)),
        "systems": {system: headline(one, measure, score.METRICS, score.RATE) for system, one in sums.items()},
        "comparisons": {
            baseline: as_facts(score.METRICS[0], difference)
            | ({"mcnemar": mcnemar(right[MODEL_SYSTEM], right[baseline])} if right else {})
            for baseline, difference in found.items()
        },
    }


def hits(sums: Sums, measure: Measure, rate: str) -> Ints:
    """Whether each row counts as right, (n,) 0 or 1: the rate of that row alone."""
    found: Ints = measure(sums.rows)[rate].astype(np.int64)
    return found


def summarise_slice(
    piece: Slice, split: Predictions, sums: Sums, score: Score, measure: Measure, chance: np.random.Generator
) -> Facts:
    """The model on one slice: the primary metric and the rate, if there is one, with their intervals."""
    rows = sums.rows[piece.rows]
    grouped = by_group(rows, [split.groups[row] for row in piece.rows])
    part = Sums(rows, grouped, bootstrap(grouped, len(sums.draws), chance))
    shown = [metric for metric in score.METRICS if metric is score.METRICS[0] or metric.name == score.RATE]
    return {
        "column": piece.column,
        "value": piece.value,
        "rows": len(rows),
        **headline(part, measure, shown, score.RATE),
    }
