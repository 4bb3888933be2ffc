"""What evaluation.json says of one split."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bonafide.evaluation.calibration import reliability
from bonafide.evaluation.estimates import Sums, by_class, estimate, headline
from bonafide.evaluation.metrics import from_sums
from bonafide.evaluation.predictions import Predictions
from bonafide.evaluation.slices import Slice
from bonafide.evaluation.statistics import wilson
from bonafide.evaluation.verdict import compare
from bonafide.project.randomness import generator

Facts = dict[str, Any]

KEPT_ERRORS = 200  # the most confident; the report shows fewer


def describe(
    name: str, split: Predictions, sums: dict[str, Sums], labels: Sequence[str], primary: str, bins: int, seed: int
) -> Facts:
    """Every system's metrics, and the model's classes, confusion, calibration and comparisons."""
    model = split.systems["model"]
    return {
        "rows": len(split.ids),
        "groups": len(set(split.groups)),
        "systems": {system: headline(system_sums) for system, system_sums in sums.items()},
        "per_class": dict(zip(labels, by_class(sums["model"]), strict=True)),
        "confusion": confusion(split, len(labels)),
        "calibration": reliability(split.labels, model, bins),
        "comparisons": {
            baseline: compare(primary, sums["model"], theirs, generator(seed, name, baseline))
            for baseline, theirs in sums.items()
            if baseline != "model"
        },
    }


def confusion(split: Predictions, classes: int) -> list[list[int]]:
    """Rows by label (down) and the model's prediction (across)."""
    cells = split.labels * classes + split.systems["model"].argmax(axis=1)
    counts: list[list[int]] = np.bincount(cells, minlength=classes**2).reshape(classes, classes).tolist()
    return counts


def describe_slice(piece: Slice, sums: Sums, min_rows: int) -> Facts:
    """The model on one slice."""
    total = sums.rows[piece.rows].sum(axis=0)
    metrics = from_sums(total, sums.classes)
    rows = len(piece.rows)
    return {
        "column": piece.column,
        "value": piece.value,
        "rows": rows,
        "accuracy": estimate(float(metrics["accuracy"]), wilson(total[: sums.classes].sum(), rows)),
        "f1_macro": float(metrics["f1_macro"]),
        "small": rows < min_rows,
    }


def worst_errors(split: Predictions, texts: pa.ChunkedArray, labels: Sequence[str]) -> list[Facts]:
    """The wrong predictions of highest probability, highest first; ties by id."""
    model = split.systems["model"]
    predictions, confidence = model.argmax(axis=1), model.max(axis=1)
    wrong = np.flatnonzero(predictions != split.labels).tolist()
    worst = sorted(wrong, key=lambda row: (-confidence[row], split.ids[row]))[:KEPT_ERRORS]
    return [
        {
            "id": split.ids[row],
            "text": texts[row].as_py(),
            "label": labels[split.labels[row]],
            "prediction": labels[predictions[row]],
            "probability": float(confidence[row]),
        }
        for row in worst
    ]
