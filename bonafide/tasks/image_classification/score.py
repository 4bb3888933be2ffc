"""The metrics of a classifier of images (declare new ones here); the formulas are evaluation.classification_metrics.

The columns of the sums are those of evaluation.classification_metrics and, last, whether the label is among the five
likeliest classes.
"""

from typing import Any

import numpy as np

from bonafide.evaluation.class_probabilities import check, class_indices, comparable
from bonafide.evaluation.classification_metrics import from_sums
from bonafide.evaluation.classification_metrics import row_sums as sums_of
from bonafide.project.arrays import Floats, Ints
from bonafide.protocol import Facts, Metric, Outputs, Targets

__all__ = ["METRICS", "RATE", "TARGET", "comparable", "metrics", "row_sums", "settings"]

METRICS = (
    Metric("accuracy", "accuracy", higher_is_better=True),
    Metric("top5", "top-5 accuracy", higher_is_better=True),
    Metric("f1_macro", "macro F1", higher_is_better=True),
    Metric("precision_macro", "macro precision", higher_is_better=True),
    Metric("recall_macro", "macro recall", higher_is_better=True),
    Metric("mcc", "MCC", higher_is_better=True),
    Metric("log_loss", "log-loss", higher_is_better=False),
    Metric("brier", "Brier score", higher_is_better=False),
    Metric("calibration_error", "calibration error", higher_is_better=False, is_biased=True),
)
RATE = "accuracy"
TARGET = "label"
BEST = 5


def settings(params: Any) -> Facts:
    """The labels in the order of the model's outputs, and the number of calibration bins."""
    return {"labels": list(params.task.labels), "calibration_bins": params.evaluate.calibration_bins}


def row_sums(targets: Targets, outputs: Outputs, settings: Facts) -> Floats:
    """The sums, (n, 3k + 2 + bins + 1), from labels (n,) and probabilities (n, k)."""
    check(outputs, settings["labels"])
    labels = class_indices(targets, settings["labels"])
    hits = ranks(labels, outputs) < BEST
    return np.column_stack([sums_of(labels, outputs, settings["calibration_bins"]), hits.astype(np.float64)])


def ranks(labels: Ints, probabilities: Floats) -> Ints:
    """How many classes are likelier than each row's label, (n,); of equal ones the first counts as likelier.

    So a label has rank 0 where it is what `argmax` predicts.
    """
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    found: Ints = ((probabilities > own) | ((probabilities == own) & before)).sum(axis=1)
    return found


def metrics(sums: Floats, settings: Facts) -> dict[str, Floats]:
    """Each metric, (...), of sums (..., 3k + 2 + bins + 1); no top-5 accuracy of five classes, which would be 1."""
    classes = len(settings["labels"])
    found = from_sums(sums[..., :-1], classes)
    rows = sums[..., 2 * classes : 3 * classes].sum(axis=-1)
    return found | {"top5": sums[..., -1] / rows if classes > BEST else np.full_like(rows, np.nan)}
