"""What any classifier shows of itself: confusion matrix, calibration, and each class by itself."""

from collections.abc import Sequence

import numpy as np

from bonafide.evaluation.calibration import reliability
from bonafide.evaluation.classification_metrics import by_class, from_sums
from bonafide.evaluation.estimates import Sums
from bonafide.evaluation.panels import Panel, columns
from bonafide.project.arrays import Floats, Ints


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
