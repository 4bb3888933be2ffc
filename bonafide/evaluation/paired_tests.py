"""Two systems on the same rows: of each metric's difference its p, its interval and its standard error, over groups.

Sums are (groups, columns) as in evaluation.statistics; a measure gives metrics of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from bonafide.evaluation.estimates import Measure
from bonafide.evaluation.statistics import TIE, chunks, defined, percentile
from bonafide.project.arrays import Floats

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A metric of the head less that of the base."""

    base: float
    head: float
    p_value: float
    """Two-sided, of the paired permutation test."""
    draws: Floats
    """(samples,) differences of bootstrap resamples of the groups, of those in which there is one."""
    left_out: Floats
    """(groups,) differences without each group, likewise."""

    @property
    def value(self) -> float:
        """Head less base."""
        return self.head - self.base

    @property
    def error(self) -> float:
        """The jackknife's standard error (Efron and Tibshirani 1993, 11.5)."""
        return float(np.sqrt((len(self.left_out) - 1) * self.left_out.var()))

    def interval(self, level: float) -> Interval:
        """The two-sided interval of `level`."""
        return bca(self.value, self.draws, self.left_out, level)


def differences(
    base: Floats, head: Floats, measure: Measure, samples: int, generator: np.random.Generator
) -> dict[str, Difference]:
    """The difference of every metric, from `samples` permutations and as many resamples of the groups, two or more.

    A metric that either system has not (NaN) is left out.
    """
    totals = measure(base.sum(axis=0)), measure(head.sum(axis=0))
    p_values = permuted(base, head, measure, samples, generator)
    draws = resampled(base, head, measure, samples, generator)
    rest = subtract(measure(leave_out(head)), measure(leave_out(base)))
    return {
        name: Difference(
            float(totals[0][name]), float(totals[1][name]), p_values[name], defined(draws[name]), defined(rest[name])
        )
        for name in totals[0]
        if np.isfinite(totals[1][name] - totals[0][name])
    }


def permuted(
    base: Floats, head: Floats, measure: Measure, samples: int, generator: np.random.Generator, coins: Any = np.uint8
) -> dict[str, float]:
    """Two-sided p of each metric's difference, by swapping the systems' outputs in whole groups.

    Exact under exchangeability: p = (1 + #{|d*| >= |d|}) / (samples + 1) (Phipson and Smyth 2010), ties counted, so
    that two equal systems give 1, as are swaps that leave a metric undefined. Of two dtypes of `coins` each draws swaps
    of its own.
    """
    moved, ours, theirs = base - head, head.sum(axis=0), base.sum(axis=0)
    observed = subtract(measure(ours), measure(theirs))
    extreme = dict.fromkeys(observed, 0)
    for size in chunks(samples, len(base)):
        shift = generator.integers(2, size=(size, len(base)), dtype=coins).astype(np.float64) @ moved
        for name, drawn in subtract(measure(ours + shift), measure(theirs - shift)).items():
            extreme[name] += int((~(np.abs(drawn) < np.abs(observed[name]) - TIE)).sum())
    return {name: (1 + count) / (samples + 1) for name, count in extreme.items()}


def resampled(
    base: Floats, head: Floats, measure: Measure, samples: int, generator: np.random.Generator
) -> dict[str, Floats]:
    """Each metric's difference, (samples,), in resamples of the groups with replacement, the same for both systems."""
    groups = len(base)
    parts = []
    for size in chunks(samples, groups):
        picks = generator.integers(groups, size=(size, groups)) + groups * np.arange(size)[:, None]
        weights = np.bincount(picks.ravel(), minlength=size * groups).reshape(size, groups).astype(np.float64)
        parts.append(subtract(measure(weights @ head), measure(weights @ base)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def bca(value: float, draws: Floats, left_out: Floats, level: float) -> Interval:
    """The bias-corrected and accelerated interval (Efron 1987) of `value`, from its draws and its jackknife.

    As scipy.stats.bootstrap's, which gathers whole resamples. The percentile interval where it is not defined.
    """
    share = ((draws < value - TIE).mean() + (draws <= value + TIE).mean()) / 2
    bias = ndtri(np.clip(share, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    moved = left_out.mean() - left_out
    scale = np.square(moved).sum() ** 1.5
    skew = (moved**3).sum() / (6 * scale) if scale > 0 else 0.0
    bent = bias + ndtri([(1 - level) / 2, (1 + level) / 2])
    if (skew * bent >= 1).any():
        return percentile(draws, level)
    low, high = np.quantile(draws, ndtr(bias + bent / (1 - skew * bent)))
    return float(low), float(high)


def leave_out(sums: Floats) -> Floats:
    """The totals without each group, (groups, columns); of a single group there is nothing to leave out."""
    rest: Floats = sums.sum(axis=0) - sums if len(sums) > 1 else sums
    return rest


def subtract(head: Mapping[str, Floats], base: Mapping[str, Floats]) -> dict[str, Floats]:
    """Metric by metric."""
    return {name: head[name] - base[name] for name in head}
