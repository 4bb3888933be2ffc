"""Classification metrics as functions of sums over rows, so that a resample of groups costs one matrix product.

The columns of the sums, for k classes: k hits, k predictions and k labels (the confusion matrix's diagonal and
margins), log-loss, Brier score, and, where calibration bins are given, a gap for each.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from bonafide.evaluation.estimates import Sums, estimate
from bonafide.evaluation.statistics import percentile, ratio, wilson
from bonafide.project.arrays import Floats, Ints

SMALLEST = np.finfo(np.float64).eps  # probabilities below it count as it in the log-loss, as in scikit-learn


def row_sums(labels: Ints, probabilities: Floats, bins: int = 0) -> Floats:
    """What each row adds to the sums, (n, 3k + 2 + bins), from labels (n,) and class probabilities (n, k).

    A row's prediction is its likeliest class, of equal ones the first. Its gap, in the column of its calibration bin,
    is its confidence less its hit (0 or 1).
    """
    rows, classes = np.arange(len(labels)), probabilities.shape[1]
    predictions = probabilities.argmax(axis=1)
    hits = predictions == labels
    sums = np.zeros((len(labels), 3 * classes + 2 + bins))
    sums[rows, labels] = hits
    sums[rows, classes + predictions] = 1
    sums[rows, 2 * classes + labels] = 1
    sums[:, 3 * classes] = -np.log(np.maximum(probabilities[rows, labels], SMALLEST))
    sums[:, 3 * classes + 1] = np.square(probabilities - np.eye(classes)[labels]).sum(axis=1)
    if bins:
        confidence = probabilities.max(axis=1)
        sums[rows, 3 * classes + 2 + bin_of(confidence, bins)] = confidence - hits
    return sums


def bin_of(confidence: Floats, bins: int) -> Ints:
    """The equal-mass bin of each row, (n,) int64 in [0, bins), by the rank of its confidence (n,).

    Equal-width bins leave most rows of a confident model in one bin (Nixon et al. 2019). Equal confidences share a bin,
    so the rows' order does not matter; many ties leave bins empty.
    """
    below = np.searchsorted(np.sort(confidence), confidence, side="left")
    return below * bins // len(confidence)


def from_sums(sums: Floats, classes: int) -> dict[str, Floats]:
    """Headline metrics of sums (..., 3k + 2 + bins), each (...).

    Macro averages are over the classes that have a label among the rows, so that a split of one class is measured on
    that class. `mcc` is Matthews' coefficient for k classes (Gorodkin 2004), 0 where it is undefined; `log_loss` is in
    nats; `brier` is Brier's own sum over classes (1950), 0 to 2; `calibration_error`, where there are bins, is the
    expected calibration error (Naeini et al. 2015) over equal-mass bins (Nguyen and O'Connor 2015).
    """
    hits, predicted, actual = (sums[..., i * classes : (i + 1) * classes] for i in range(3))
    rows = actual.sum(axis=-1)
    present = actual > 0
    metrics = {
        "accuracy": hits.sum(axis=-1) / rows,
        **{f"{name}_macro": _mean(values, present) for name, values in per_class(sums, classes).items()},
        "mcc": _matthews(hits.sum(axis=-1), rows, predicted, actual),
        "log_loss": sums[..., 3 * classes] / rows,
        "brier": sums[..., 3 * classes + 1] / rows,
    }
    gaps = sums[..., 3 * classes + 2 :]
    return metrics | ({"calibration_error": np.abs(gaps).sum(axis=-1) / rows} if gaps.shape[-1] else {})


def per_class(sums: Floats, classes: int) -> dict[str, Floats]:
    """Precision, recall and F1 of each class, each (..., k); 0 where undefined, as for a class never predicted."""
    hits, predicted, actual = (sums[..., i * classes : (i + 1) * classes] for i in range(3))
    return {
        "precision": ratio(hits, predicted, 0.0),
        "recall": ratio(hits, actual, 0.0),
        "f1": ratio(2 * hits, predicted + actual, 0.0),
    }


def by_class(sums: Sums, classes: int) -> list[dict[str, Any]]:
    """For each class its rows, precision and recall with Wilson's intervals, and F1 with the bootstrap's."""
    values, draws = per_class(sums.total, classes), per_class(sums.draws, classes)["f1"]
    hits, predicted, actual = sums.total[: 3 * classes].reshape(3, -1)
    return [
        {
            "rows": int(actual[k]),
            "precision": estimate(float(values["precision"][k]), wilson(hits[k], predicted[k])),
            "recall": estimate(float(values["recall"][k]), wilson(hits[k], actual[k])),
            "f1": estimate(float(values["f1"][k]), percentile(draws[:, k])),
        }
        for k in range(classes)
    ]


def _mean(values: Floats, present: npt.NDArray[np.bool_]) -> Floats:
    mean: Floats = np.where(present, values, 0.0).sum(axis=-1) / present.sum(axis=-1)
    return mean


def _matthews(hits: Floats, rows: Floats, predicted: Floats, actual: Floats) -> Floats:
    covariance = hits * rows - (predicted * actual).sum(axis=-1)
    spread = (rows**2 - (predicted**2).sum(axis=-1)) * (rows**2 - (actual**2).sum(axis=-1))
    return ratio(covariance, np.sqrt(spread), 0.0)
