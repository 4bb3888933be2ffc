"""A system on one split as sums, and its metrics with their 95% intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from bonafide.evaluation.statistics import bootstrap, by_group, percentile, reflected, wilson
from bonafide.project.arrays import Floats
from bonafide.protocol import Metric

Measure = Callable[[Floats], Mapping[str, Floats]]
"""A task's metrics, each (...), of sums (..., columns)."""

Estimate = dict[str, float | None]
"""`value`, `low` and `high`; None for what is not defined."""


@dataclass(frozen=True)
class Sums:
    """The sums of a task's `row_sums` for one system."""

    rows: Floats
    """(n, columns)."""
    groups: Floats
    """(groups, columns)."""
    draws: Floats
    """(samples, columns) totals of bootstrap resamples of the groups, the same resamples for every system."""

    @property
    def total(self) -> Floats:
        """Over all rows, (columns,)."""
        total: Floats = self.rows.sum(axis=0)
        return total


def sum_up(
    rows: Mapping[str, Floats], groups: list[str], samples: int, generator: np.random.Generator
) -> dict[str, Sums]:
    """The sums of every system on a split, from what each row adds (n, columns)."""
    grouped = {name: by_group(sums, groups) for name, sums in rows.items()}
    draws = np.split(bootstrap(np.hstack(list(grouped.values())), samples, generator), len(rows), axis=1)
    return {name: Sums(rows[name], grouped[name], drawn) for name, drawn in zip(rows, draws, strict=True)}


def headline(sums: Sums, measure: Measure, metrics: Sequence[Metric], rate: str | None) -> dict[str, Estimate]:
    """Each metric: Wilson's interval for the `rate`, the bootstrap's over groups for the rest."""
    values, draws = measure(sums.total), measure(sums.draws)
    return {
        metric.name: rate_of(sums.rows, measure, rate)
        if metric.name == rate
        else estimate(
            float(values[metric.name]),
            reflected(float(values[metric.name]), draws[metric.name])
            if metric.is_biased
            else percentile(draws[metric.name]),
        )
        for metric in metrics
    }


def rate_of(rows: Floats, measure: Measure, rate: str) -> Estimate:
    """A share of rows (n, columns) with Wilson's interval."""
    return estimate(float(measure(rows.sum(axis=0))[rate]), wilson(float(measure(rows)[rate].sum()), len(rows)))


def estimate(value: float, interval: tuple[float, float]) -> Estimate:
    """A value with its interval; None for NaN, which JSON has not."""
    found = (value, *(interval if isfinite(value) else (value, value)))
    return {key: x if isfinite(x) else None for key, x in zip(("value", "low", "high"), found, strict=True)}
