"""The metrics of a classifier (declare new ones here); the formulas are evaluation.classification_metrics."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bonafide.evaluation.classification_metrics import from_sums
from bonafide.evaluation.classification_metrics import row_sums as sums_of
from bonafide.project.arrays import Floats, Ints
from bonafide.protocol import Facts, Metric, Outputs, Targets

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


def comparable(outputs: Outputs, settings: Facts) -> tuple[Outputs, Facts]:
    """Classes by name, and no calibration bins: their edges are each revision's own."""
    labels = settings["labels"]
    order = sorted(range(len(labels)), key=labels.__getitem__)
    check(outputs, labels)
    return outputs[:, order], {"labels": [labels[index] for index in order], "calibration_bins": 0}


def row_sums(targets: Targets, outputs: Outputs, settings: Facts) -> Floats:
    """The sums of evaluation.classification_metrics, (n, 3k + 2 + bins), from labels (n,) and probabilities (n, k)."""
    check(outputs, settings["labels"])
    return sums_of(class_indices(targets, settings["labels"]), outputs, settings["calibration_bins"])


def check(outputs: Outputs, labels: Sequence[str]) -> None:
    """Raise ValueError unless outputs (n, k) hold a number of 0 or more for each label."""
    if (
        outputs.ndim != 2
        or outputs.shape[1] != len(labels)
        or not (np.isfinite(outputs).all() and (outputs >= 0).all())
    ):
        raise ValueError("no probabilities")


def class_indices(targets: Targets, labels: Sequence[str]) -> Ints:
    """The place of each label among `labels`, (n,)."""
    places = {label: index for index, label in enumerate(labels)}
    return np.array([places[label] for label in targets], dtype=np.int64)


def metrics(sums: Floats, settings: Facts) -> dict[str, Floats]:
    """Each metric, (...), of sums (..., 3k + 2 + bins)."""
    return from_sums(sums, len(settings["labels"]))
