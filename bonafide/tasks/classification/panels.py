"""Where a classifier errs: by length and negation, by class, by confidence, and row by row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bonafide.datasets.language import NEGATION
from bonafide.evaluation.classification_panels import calibration, classes, confusion
from bonafide.evaluation.estimates import Sums
from bonafide.evaluation.panels import Panel, columns
from bonafide.evaluation.slices import Named, number_names
from bonafide.project.arrays import Floats
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
