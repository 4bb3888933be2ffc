"""Where a classifier errs: by length and negation, by class, by confidence, and row by row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bonafide.datasets.language import NEGATION
from bonafide.evaluation.calibration import reliability
from bonafide.evaluation.classification_metrics import by_class, from_sums
from bonafide.evaluation.estimates import Sums
from bonafide.evaluation.panels import Panel, columns
from bonafide.evaluation.slices import Named, number_names
from bonafide.project.arrays import Floats, Ints
from bonafide.protocol import Split

KEPT_ERRORS = 200  # the most confident; the report shows fewer


def slices(split: Split) -> Mapping[str, Named]:
    """By length in tokens, and by whether a text has a negation."""
    negated = ["yes" if NEGATION.search(text) else "no" for text in split.table["text"].to_pylist()]
    lengths = np.diff(split.examples["offsets"]).astype(np.float64)
    return {"length": number_names(lengths), "negation": (negated, ["yes", "no"])}


def panels(split: Split, outputs: Floats, sums: Sums, params: Any) -> list[Panel]:
    """Confusion matrix, calibration, metrics by class, and the surest mistakes, of class probabilities (n, classes)."""
    labels, targets = params.task.labels, np.asarray(split.examples["labels"])
    return [
        confusion(targets, outputs, labels),
        calibration(targets, outputs, params.evaluate.calibration_bins),
        classes(sums, labels),
        mistakes(split, outputs, labels),
    ]


def confusion(targets: Ints, outputs: Floats, labels: Sequence[str]) -> Panel:
    """Rows by label (down) and prediction (across)."""
    k = len(labels)
    cells = targets * k + outputs.argmax(axis=1)
    return {
        "kind": "matrix",
        "title": "Confusion",
        "caption": "Rows by true and predicted class; colour is the share of the true class",
        "x": "predicted",
        "y": "true",
        "names": list(labels),
        "counts": np.bincount(cells, minlength=k**2).reshape(k, k).tolist(),
    }


def calibration(targets: Ints, outputs: Floats, bins: int) -> Panel:
    """Accuracy by confidence."""
    return {
        "kind": "scatter",
        "title": "Calibration",
        "caption": "Confidence against accuracy: on the dashed line, 90% sure is right nine times in ten; below it, "
        "the model is too sure. Dots by number of rows",
        "x": "confidence",
        "y": "accuracy",
        "diagonal": True,
        "points": [
            {"x": found["confidence"], "y": found["accuracy"], **{key: found[key] for key in ("low", "high", "rows")}}
            for found in reliability(targets, outputs, bins)
        ],
    }


def classes(sums: Sums, labels: Sequence[str]) -> Panel:
    """Precision, recall and F1 of each class."""
    found = by_class(sums, len(labels))
    return {
        "kind": "table",
        "title": "By class",
        "caption": "The dashed line is the macro F1",
        "columns": columns(
            {
                "Class": "name",
                "Rows": "count",
                "Precision": "estimate",
                "Recall": "estimate",
                "F1": "estimate",
                "": "interval",
            }
        ),
        "rows": [
            [label, one["rows"], one["precision"], one["recall"], one["f1"], one["f1"]]
            for label, one in zip(labels, found, strict=True)
        ],
        "mark": float(from_sums(sums.total, len(labels))["f1_macro"]),
    }


def mistakes(split: Split, outputs: Floats, labels: Sequence[str]) -> Panel:
    """The wrong predictions of highest probability, highest first; ties by id."""
    targets, ids = np.asarray(split.examples["labels"]), split.table["id"].to_pylist()
    predictions, confidence = outputs.argmax(axis=1), outputs.max(axis=1)
    wrong = np.flatnonzero(predictions != targets).tolist()
    worst = sorted(wrong, key=lambda row: (-confidence[row], ids[row]))[:KEPT_ERRORS]
    return {
        "kind": "samples",
        "title": "The surest mistakes",
        "caption": "Wrong predictions, the most confident first. Some are the label's mistake, not the model's",
        "columns": columns({"Text": "text", "True": "name", "Predicted": "name", "Sure": "percent"}),
        "ids": [ids[row] for row in worst],
        "rows": [
            [split.table["text"][row].as_py(), labels[targets[row]], labels[predictions[row]], float(confidence[row])]
            for row in worst
        ],
    }
