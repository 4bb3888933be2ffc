"""What a linear model has to beat."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bonafide.project.arrays import Floats
from bonafide.project.paths import MODEL
from bonafide.protocol import Split, System
from bonafide.tasks.regression.model import closed_form, linear, load, measure_target

BASELINES = (  # a line has to hold up to trees, which need no line
    System("boosting", "boosting", "gradient boosted trees on the same features and target"),
    System("closed_form", "closed form", "least squares on the same features and target, solved exactly"),
    System("mean", "the mean", "always saying the mean of what was trained on"),
)


def predict(splits: Mapping[str, Split], params: Any) -> dict[str, dict[str, Floats]]:  # noqa: ARG001
    """Each baseline's values (n,) in the target's unit, on every split but train.

    The target is fitted as the model's is, by its logarithm or not; then the mean of each exp(residual) on train makes
    means of medians here as there.
    """
    examples = {name: split.examples for name, split in splits.items()}
    train = examples["train"]
    target = measure_target(train["target"], logarithm=load(MODEL).target.logarithm)
    outputs = target.standardise(train["target"])
    weight, bias = closed_form(train["features"], outputs)
    trees = boost(train["features"], outputs)
    found = {
        "closed_form": {name: linear(part["features"], weight, bias) for name, part in examples.items()},
        "boosting": {name: trees.predict(part["features"]) for name, part in examples.items()},
    }
    values = {"mean": {name: np.full(len(part["target"]), train["target"].mean()) for name, part in examples.items()}}
    for system, by_split in found.items():
        smearing = float(np.exp((outputs - by_split["train"]) * target.deviation).mean()) if target.logarithm else 1.0
        restore = replace(target, smearing=smearing).restore
        values[system] = {name: restore(part) for name, part in by_split.items()}
    return {system: {name: found for name, found in by.items() if name != "train"} for system, by in values.items()}


def boost(features: Floats, outputs: Floats) -> Any:
    """scikit-learn's histogram gradient boosting as it comes, with all rows: nothing in it is drawn."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(early_stopping=False, random_state=0).fit(features, outputs)
