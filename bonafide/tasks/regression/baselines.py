"""What a linear model has to beat, and what the report shows of it: its errors and its coefficients."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bonafide.project.arrays import Floats
from bonafide.tasks.regression.model import Examples, Linear, closed_form, linear, measure_target

BASELINES = {
    "mean": "the mean of train's targets",
    "closed_form": "least squares on the same features and target, solved exactly",
    "boosting": "gradient boosted trees on the same features and target",
}
REFERENCE = "boosting"  # a line has to hold up to trees, which need no line
SHOWN = 200  # rows in a picture
BINS = 24
LOG_UNIT = "% of the prediction"


def predict(splits: Mapping[str, Examples], model: Linear) -> dict[str, dict[str, Floats]]:
    """Each baseline's values (n,) in the target's unit, on every split, fitted on train.

    The target is fitted as the model's is, by its logarithm or not; then the mean of each exp(residual) on train makes
    means of medians here as there.
    """
    train = splits["train"]
    target = measure_target(train["target"], logarithm=model.target.logarithm)
    outputs = target.standardise(train["target"])
    weight, bias = closed_form(train["features"], outputs)
    trees = boost(train["features"], outputs)
    found = {
        "closed_form": {name: linear(part["features"], weight, bias) for name, part in splits.items()},
        "boosting": {name: trees.predict(part["features"]) for name, part in splits.items()},
    }
    values = {"mean": {name: np.full(len(part["target"]), train["target"].mean()) for name, part in splits.items()}}
    for system, by_split in found.items():
        smearing = float(np.exp((outputs - by_split["train"]) * target.deviation).mean()) if target.logarithm else 1.0
        restore = replace(target, smearing=smearing).restore
        values[system] = {name: restore(part) for name, part in by_split.items()}
    return values


def boost(features: Floats, outputs: Floats) -> Any:
    """scikit-learn's histogram gradient boosting as it comes, with all rows: nothing in it is drawn."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(early_stopping=False, random_state=0).fit(features, outputs)


def scatter(ids: Sequence[str], answers: Floats, values: Floats) -> dict[str, list[float]]:
    """True and predicted values of the rows shown: those whose ids have the smallest hashes, by true value."""
    keys = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids]
    shown = np.array(sorted(range(len(ids)), key=keys.__getitem__)[:SHOWN], dtype=np.int64)
    shown = shown[np.argsort(answers[shown], kind="stable")]
    return {"true": answers[shown].tolist(), "predicted": values[shown].tolist()}


def residuals(answers: Floats, values: Floats) -> dict[str, Any]:
    """Predicted less true values of all rows: their mean, quantiles, and a histogram of the middle 98 of a hundred.

    The outermost bins also hold what is beyond them.
    """
    errors = values - answers
    low, high = np.quantile(errors, [0.01, 0.99])
    high = high if high > low else low + 1
    counts, edges = np.histogram(errors.clip(low, high), bins=BINS, range=(low, high))
    quantiles = {f"{q:g}": float(np.quantile(errors, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
    return {"mean": float(errors.mean()), "quantiles": quantiles, "edges": edges.tolist(), "counts": counts.tolist()}


def coefficients(model: Linear) -> list[dict[str, Any]]:
    """What each feature adds to the prediction, most per deviation first: `change` in `unit`, for one `per`.

    Of a number that is one unit of its column, of a logarithm one percent of it, of a category's value having it
    instead of none. With a logarithm of the target a change is in percent of the prediction.
    """
    facts = []
    for feature, weight in zip(model.processor, (model.weight * model.target.deviation).tolist(), strict=True):
        step = np.log(1.01) if feature["logarithm"] else 1.0
        effect = weight / feature["deviation"] * step
        facts.append(
            {
                "column": feature["column"],
                "value": feature["value"],
                "per": "1 %" if feature["logarithm"] else "1" if feature["value"] is None else "this value",
                "change": float(100 * np.expm1(effect)) if model.target.logarithm else float(effect),
                "unit": LOG_UNIT if model.target.logarithm else "target",
                "per_deviation": weight,
            }
        )
    return sorted(facts, key=lambda fact: -abs(fact["per_deviation"]))
