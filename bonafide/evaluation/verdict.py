"""The model against a baseline on the same rows, and what may be said of it."""

from typing import Any

import numpy as np

from bonafide.evaluation.estimates import Sums
from bonafide.evaluation.metrics import from_sums
from bonafide.evaluation.statistics import mcnemar, percentile, permutation_test
from bonafide.project.arrays import Floats
from bonafide.project.numbers import p_value

Facts = dict[str, Any]

SIGNIFICANT = 0.05
NAMES = {"f1_macro": "macro F1", "mcc": "MCC", "log_loss": "log-loss"}


def compare(metric: str, ours: Sums, theirs: Sums, generator: np.random.Generator) -> Facts:
    """Difference of `metric`, ours less theirs, with its paired 95% interval and p over groups, and McNemar's test."""

    def statistic(sums: Floats) -> Floats:
        return from_sums(sums, ours.classes)[metric]

    low, high = percentile(_differences(metric, ours, theirs))
    return {
        "metric": metric,
        "difference": float(statistic(ours.total) - statistic(theirs.total)),
        "low": low,
        "high": high,
        "p_value": permutation_test(ours.groups, theirs.groups, statistic, len(ours.draws), generator),
        "mcnemar": mcnemar(ours.hits, theirs.hits),
    }


def _differences(metric: str, ours: Sums, theirs: Sums) -> Floats:
    return from_sums(ours.draws, ours.classes)[metric] - from_sums(theirs.draws, theirs.classes)[metric]


def judge(split: str, compared: Facts, ours: Sums, shell: Sums, margin: float, sign: int) -> Facts:
    """The verdict on the model against the shell; `sign` is -1 where a lower metric is better.

    Beats and worse: the 95% interval excludes 0 and the permutation test, which stays exact where groups are few,
    rejects at 0.05. Equivalent: two one-sided tests at 0.05 (Schuirmann 1987): the 90% interval is within the margin.
    """
    metric = compared["metric"]
    within = percentile(_differences(metric, ours, shell), level=0.9)
    tested = compared["p_value"] <= SIGNIFICANT
    gain = sorted((sign * compared["low"], sign * compared["high"]))
    if tested and gain[0] > 0:
        outcome, opening = "beats the shell", "The model beats the shell"
        reach = "all of it above" if gain[0] > margin else "which may be less than"
        closing = f"{reach} the margin of {margin:g} that matters"
    elif tested and gain[1] < 0:
        outcome, opening = "worse than the shell", "The model is worse than the shell"
        closing = "so the training took something away"
    elif -margin < within[0] and within[1] < margin:
        outcome, opening = "equivalent to the shell", "The model is equivalent to the shell"
        closing = f"and the 90% interval lies within the margin of {margin:g} that matters"
    else:
        outcome, opening = "not enough evidence", "There is not enough evidence that the model differs from the shell"
        closing = f"and the margin that matters is {margin:g}"
    mine, other = (float(from_sums(sums.total, sums.classes)[metric]) for sums in (ours, shell))
    sentence = (
        f"{opening}: {NAMES.get(metric, metric)} on {split} is {mine:.3f} against {other:.3f}, a difference of "
        f"{_signed(compared['difference'])} (95% interval {_signed(compared['low'])} to {_signed(compared['high'])}, "
        f"p {p_value(compared['p_value'])}), {closing}."
    )
    facts = {name: compared[name] for name in ("metric", "difference", "low", "high", "p_value")}
    return {"outcome": outcome, "sentence": sentence, "split": split, "margin": margin} | facts


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"
