"""Where a linear model errs, and what it has learned."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from bonafide.evaluation.panels import Panel, columns
from bonafide.project.arrays import Floats
from bonafide.project.paths import MODEL
from bonafide.protocol import Split
from bonafide.tasks.regression.model import Linear, load

SHOWN = 200  # rows in a picture
KEPT_ERRORS = 200  # the largest; the report shows fewer
BINS = 24
COEFFICIENTS = 30


def slices(split: Split) -> dict[str, Any]:  # noqa: ARG001
    """None but those by the user's columns."""
    return {}


def panels(split: Split, outputs: Floats, sums: Any, params: Any) -> list[Panel]:  # noqa: ARG001
    """Predicted against true values, residuals, coefficients, and the largest errors."""
    ids, targets = split.table["id"].to_pylist(), np.asarray(split.examples["target"])
    return [
        predicted_against_true(ids, targets, outputs),
        residuals(targets, outputs),
        coefficients(load(MODEL)),
        mistakes(ids, targets, outputs),
    ]


def predicted_against_true(ids: Sequence[str], targets: Floats, outputs: Floats) -> Panel:
    """Rows of a random sample: those whose ids have the smallest hashes."""
    keys = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids]
    shown = sorted(range(len(ids)), key=keys.__getitem__)[:SHOWN]
    return {
        "kind": "scatter",
        "title": "Predicted against true",
        "caption": f"On the dashed line a prediction is right. {len(shown):,} of {len(ids):,} rows, drawn by hash",
        "x": "true",
        "y": "predicted",
        "diagonal": True,
        "points": [{"x": float(targets[row]), "y": float(outputs[row])} for row in shown],
    }


def residuals(targets: Floats, outputs: Floats) -> Panel:
    """Predicted less true values: a histogram of the middle 98 of a hundred; the outermost bins hold what is beyond."""
    errors = outputs - targets
    low, high = np.quantile(errors, [0.01, 0.99])
    high = high if high > low else low + 1
    counts, edges = np.histogram(errors.clip(low, high), bins=BINS, range=(low, high))
    return {
        "kind": "histogram",
        "title": "Residuals",
        "caption": "Predicted less true value; the outermost bars hold what is beyond them, one row in fifty",
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def coefficients(model: Linear) -> Panel:
    """What each feature adds to the prediction, the most per deviation first."""
    found = [
        (change(feature, weight, model), feature, weight)
        for feature, weight in zip(model.processor, (model.weight * model.target.deviation).tolist(), strict=True)
    ]
    found.sort(key=lambda one: -abs(one[2]))
    hidden = len(found) - COEFFICIENTS
    unit = "% of the prediction" if model.target.logarithm else "target"
    return {
        "kind": "table",
        "title": "Coefficients",
        "caption": f"By how much the prediction changes ({unit}) with one unit of a column, all else being equal: the "
        "first moves it most over the rows of train" + (f"; {hidden:,} more move it less" if hidden > 0 else ""),
        "columns": columns({"Column": "name", "One unit": "name", f"Change, {unit}": "score"}),
        "rows": [[feature["column"], unit_of(feature), moved] for moved, feature, _ in found[:COEFFICIENTS]],
    }


def unit_of(feature: dict[str, Any]) -> str:
    """Of a logarithm one percent, of a number one of its units, of a category its value instead of none."""
    return "1 %" if feature["logarithm"] else "1" if feature["value"] is None else feature["value"]


def change(feature: dict[str, Any], weight: float, model: Linear) -> float:
    """By how much one unit of a feature moves the prediction: percent with a logarithm of the target, else its unit."""
    effect = weight / feature["deviation"] * (np.log(1.01) if feature["logarithm"] else 1.0)
    return float(100 * np.expm1(effect)) if model.target.logarithm else float(effect)


def mistakes(ids: Sequence[str], targets: Floats, outputs: Floats) -> Panel:
    """The rows whose prediction is farthest from the truth; ties by id."""
    errors = outputs - targets
    worst = sorted(range(len(ids)), key=lambda row: (-abs(errors[row]), ids[row]))[:KEPT_ERRORS]
    return {
        "kind": "samples",
        "title": "The largest errors",
        "caption": "Rows whose prediction is farthest from the true value",
        "columns": columns({"True": "score", "Predicted": "score", "Off by": "score"}),
        "ids": [ids[row] for row in worst],
        "rows": [[float(targets[row]), float(outputs[row]), float(errors[row])] for row in worst],
    }
