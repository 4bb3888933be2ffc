"""The metrics of a classifier (declare new ones here); the formulas are evaluation.classification_metrics."""

from typing import Any

from bonafide.evaluation.class_probabilities import check, class_indices, comparable
from bonafide.evaluation.classification_metrics import from_sums
from bonafide.evaluation.classification_metrics import row_sums as sums_of
from bonafide.project.arrays import Floats
from bonafide.protocol import Facts, Metric, Outputs, Targets

__all__ = ["METRICS", "RATE", "TARGET", "comparable", "metrics", "row_sums", "settings"]

METRICS = (
    Metric("f1_macro", "macro F1", higher_is_better=True),
    Metric("accuracy", "accuracy", higher_is_better=True),
    Metric("precision_macro", "macro precision", higher_is_better=True),
    Metric("recall_macro", "macro recall", higher_is_better=True),
    Metric("mcc", "MCC", higher_is_better=True),
    Metric("log_loss", "log-loss", higher_is_better=False),
    Metric("brier", "Brier score", higher_is_better=False),
    Metric("calibration_error", "calibration error", higher_is_better=False, is_biased=True),
)
RATE = "accuracy"
TARGET = "label"


def settings(params: Any) -> Facts:
    """The labels in the order of the model's outputs, and the number of calibration bins."""
    return {"labels": list(params.task.labels), "calibration_bins": params.evaluate.calibration_bins}


def row_sums(targets: Targets, outputs: Outputs, settings: Facts) -> Floats:
    """The sums of evaluation.classification_metrics, (n, 3k + 2 + bins), from labels (n,) and probabilities (n, k)."""
    check(outputs, settings["labels"])
    return sums_of(class_indices(targets, settings["labels"]), outputs, settings["calibration_bins"])


def metrics(sums: Floats, settings: Facts) -> dict[str, Floats]:
    """Each metric, (...), of sums (..., 3k + 2 + bins)."""
    return from_sums(sums, len(settings["labels"]))
