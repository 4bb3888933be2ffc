"""The rule that decides improved, equivalent (TOST), regressed or not enough evidence, and its sentence.

The report's verdict, `bonafide compare`, the pull request's gate and promotion all ask here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bonafide.evaluation.estimates import Measure, Sums
from bonafide.evaluation.paired_tests import Difference, leave_out, permuted, subtract
from bonafide.evaluation.statistics import defined, percentile
from bonafide.project.numbers import p_value, plain
from bonafide.protocol import Metric, System

Facts = dict[str, Any]

IMPROVED, EQUIVALENT, REGRESSED, UNDECIDED = "improved", "equivalent", "regressed", "not enough evidence"


@dataclass(frozen=True)
class Rule:
    """When a difference counts."""

    margin: float
    """The smallest one that matters, in the metric's unit."""
    alpha: float = 0.05
    """Probability of calling a difference where there is none."""


def outcome(metric: Metric, difference: Difference, groups: int, rule: Rule, adjusted: float | None = None) -> str:
    """What may be said of a difference; `adjusted` is its p, corrected for many comparisons.

    Equivalent: two one-sided tests (Schuirmann 1987), as the 1 - 2 alpha interval lies within the margin; it comes
    first, since what is shown to be smaller than what matters does not matter, however sure its sign is. Improved and
    regressed: the permutation test rejects, and the 1 - alpha interval leaves out 0: the test is exact where the
    systems can be exchanged, the interval holds where they err in different ways. Groups too few for any permutation
    to reject decide nothing, unless the systems are the same.
    """
    low, high = difference.interval(1 - rule.alpha)
    inner = difference.interval(1 - 2 * rule.alpha)
    enough = can_reject(groups, rule.alpha) or difference.error == 0
    rejected = (difference.p_value if adjusted is None else adjusted) <= rule.alpha
    if enough and -rule.margin <= inner[0] and inner[1] <= rule.margin:
        return EQUIVALENT
    if rejected and (low > 0 or high < 0):
        return IMPROVED if (low > 0) == metric.higher_is_better else REGRESSED
    return UNDECIDED


def can_reject(groups: int, alpha: float) -> bool:
    """Whether the rarest of the 2^groups swaps, and its mirror, are rarer than alpha."""
    return groups >= 64 or 2 / 2**groups <= alpha


def difference_of(
    metric: Metric, ours: Sums, theirs: Sums, measure: Measure, generator: np.random.Generator
) -> Difference:
    """The difference of a metric that both have, ours less theirs, from the resamples that the sums have."""
    name = metric.name
    draws = subtract(measure(ours.draws), measure(theirs.draws))[name]
    left_out = subtract(measure(leave_out(ours.groups)), measure(leave_out(theirs.groups)))[name]
    p_values = permuted(theirs.groups, ours.groups, measure, len(draws), generator, np.int64)
    base, head = (float(measure(sums.total)[name]) for sums in (theirs, ours))
    return Difference(base, head, p_values[name], defined(draws), defined(left_out))


def as_facts(metric: Metric, difference: Difference) -> Facts:
    """A difference with its percentile interval and its p."""
    low, high = percentile(difference.draws)
    return {
        "metric": metric.name,
        "difference": difference.value,
        "low": low,
        "high": high,
        "p_value": difference.p_value,
    }


def judge(
    metric: Metric, split: str, difference: Difference, against: System, groups: Sequence[str], margin: float
) -> Facts:
    """The verdict on the model against a baseline; `interval` and `tost` (both BCa) are those that decide it."""
    rule = Rule(margin)
    found = outcome(metric, difference, len(set(groups)), rule)
    return {
        "outcome": found,
        "sentence": sentence(metric, split, difference, against.words, found, rule),
        "split": split,
        "against": against.name,
        **as_facts(metric, difference),
        "margin": rule.margin,
        "alpha": rule.alpha,
        "interval": list(difference.interval(1 - rule.alpha)),
        "tost": list(difference.interval(1 - 2 * rule.alpha)),
    }


def sentence(metric: Metric, split: str, difference: Difference, reference: str, found: str, rule: Rule) -> str:
    """The verdict in one sentence that stands alone."""
    low, high = difference.interval(1 - rule.alpha)
    beside = max(difference.head, difference.base, key=abs)
    ours, theirs = plain(difference.head, beside), plain(difference.base, beside)
    reach = "all of it above" if (low if metric.higher_is_better else -high) > rule.margin else "which may be less than"
    inner = f"{100 * (1 - 2 * rule.alpha):g}% interval lies within the margin of {rule.margin:,g} that matters"
    opening, closing = {
        IMPROVED: (f"The model beats {reference}", f"{reach} the margin of {rule.margin:,g} that matters"),
        REGRESSED: (f"The model is worse than {reference}", "so it is not worth its cost"),
        EQUIVALENT: (f"The model is equivalent to {reference}", f"and the {inner}"),
        UNDECIDED: (
            f"There is not enough evidence that the model differs from {reference}",
            f"and the margin that matters is {rule.margin:,g}",
        ),
    }[found]
    return (
        f"{opening}: {metric.words} on {split} is {ours} against {theirs}, "
        f"a difference of {plain(difference.value, beside)} ({100 * (1 - rule.alpha):g}% interval {plain(low, beside)} "
        f"to {plain(high, beside)}, p {p_value(difference.p_value)}), {closing}."
    )
