"""A system on one split as sums, and its metrics with their 95% intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bonafide.evaluation.metrics import from_sums, per_class, row_sums
from bonafide.evaluation.predictions import Predictions
from bonafide.evaluation.statistics import bootstrap, by_group, percentile, reflected, wilson
from bonafide.project.arrays import Floats, Ints

Estimate = dict[str, float]
"""`value`, `low` and `high`."""


@dataclass(frozen=True)
class Sums:
    """The sums of bonafide.evaluation.metrics for one system."""

    classes: int
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

    @property
    def hits(self) -> Ints:
        """Whether each row is right, (n,) 0 or 1."""
        hits: Ints = self.rows[:, : self.classes].sum(axis=1).astype(np.int64)
        return hits


def sum_up(split: Predictions, bins: int, samples: int, generator: np.random.Generator) -> dict[str, Sums]:
    """The sums of every system on a split."""
    rows = {name: row_sums(split.labels, probabilities, bins) for name, probabilities in split.systems.items()}
    groups = {name: by_group(sums, split.groups) for name, sums in rows.items()}
    draws = np.split(bootstrap(np.hstack(list(groups.values())), samples, generator), len(rows), axis=1)
    return {
        name: Sums(split.systems[name].shape[1], rows[name], groups[name], drawn)
        for name, drawn in zip(rows, draws, strict=True)
    }


def headline(sums: Sums) -> dict[str, Estimate]:
    """Each headline metric: Wilson's interval for accuracy, the bootstrap's over groups for the rest."""
    values, draws = from_sums(sums.total, sums.classes), from_sums(sums.draws, sums.classes)
    intervals = {name: percentile(draws[name]) for name in values}
    intervals["accuracy"] = wilson(sums.hits.sum(), len(sums.hits))
    intervals["calibration_error"] = reflected(float(values["calibration_error"]), draws["calibration_error"])
    return {name: estimate(float(values[name]), intervals[name]) for name in values}


def by_class(sums: Sums) -> list[Mapping[str, int | Estimate]]:
    """For each class its rows, precision and recall with Wilson's intervals, and F1 with the bootstrap's."""
    values, draws = per_class(sums.total, sums.classes), per_class(sums.draws, sums.classes)["f1"]
    hits, predicted, actual = sums.total[: 3 * sums.classes].reshape(3, -1)
    return [
        {
            "rows": int(actual[k]),
            "precision": estimate(float(values["precision"][k]), wilson(hits[k], predicted[k])),
            "recall": estimate(float(values["recall"][k]), wilson(hits[k], actual[k])),
            "f1": estimate(float(values["f1"][k]), percentile(draws[:, k])),
        }
        for k in range(sums.classes)
    ]


def estimate(value: float, interval: tuple[float, float]) -> Estimate:
    """A value with its interval."""
    return {"value": value, "low": interval[0], "high": interval[1]}
