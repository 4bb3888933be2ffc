"""Fit a linear model: gradient descent with its update formulas (plain or Nesterov), or the closed form."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.datasets.ragged import read
from bonafide.project.arrays import Floats, Metrics
from bonafide.project.errors import InputError
from bonafide.project.files import read_json, write_csv
from bonafide.project.paths import HISTORY, MODEL, PROCESSOR, TOKENIZED
from bonafide.tasks.regression.model import RANK, Examples, Linear, closed_form, linear, measure_target, save
from bonafide.tasks.regression.params import Train

Step = tuple[int, Floats, float]
"""A step's number, and weight (d,) and bias there."""


PARALLEL = False


def train(params: Any, *, state: Path) -> Metrics:  # noqa: ARG001
    """Fit on train, save the model and the curves; return the steps and the last losses.

    A killed run starts anew: that costs seconds, and the same steps give the same bytes.
    """
    splits = {name: read(TOKENIZED / name) for name in ("train", "validation")}
    fitted, history = fit(params.train, splits, read_json(TOKENIZED / PROCESSOR))
    save(MODEL, fitted)
    columns = list(history[0])
    write_csv(HISTORY, columns, [[row[column] for column in columns] for row in history])
    last = history[-1]
    return {"train/steps": last["step"]} | {f"train/best/{name}": last[name] for name in columns[1:]}


@dataclass(frozen=True)
class Curvature:
    """The largest and the least curvature of the loss, other than 0: eigenvalues of its Hessian."""

    largest: float
    least: float


def fit(
    params: Train, splits: Mapping[str, Examples], processor: list[dict[str, Any]]
) -> tuple[Linear, list[dict[str, float]]]:
    """The model fitted on `train`, and its history: rows of step and, for each split given, `<split>_loss`.

    A loss is the mean squared error in deviations of train's target, of the steps whose number has two digits and
    zeros, and of the last. Equal runs give equal bytes; a killed one starts anew, which costs less than checkpoints.
    """
    train = splits["train"]
    target = measure_target(train["target"], logarithm=params.log_target)
    data = {name: (np.asarray(part["features"]), target.standardise(part["target"])) for name, part in splits.items()}
    history = []
    for step, weight, bias in solve(*data["train"], params):
        if is_shown(step):
            history.append(losses(step, weight, bias, data))
    if not is_shown(step):
        history.append(losses(step, weight, bias, data))
    residuals = data["train"][1] - linear(data["train"][0], weight, bias)
    smearing = float(np.exp(residuals * target.deviation).mean()) if target.logarithm else 1.0
    return Linear(weight, bias, replace(target, smearing=smearing), processor), history


def is_shown(step: int) -> bool:
    """Whether a curve has this step: 0 to 99, 100, 110, 120, ..., 1000, 1100, ..."""
    return not str(step)[2:].strip("0")


def losses(step: int, weight: Floats, bias: float, data: Mapping[str, tuple[Floats, Floats]]) -> dict[str, float]:
    """One row of the history."""
    errors = {name: linear(inputs, weight, bias) - outputs for name, (inputs, outputs) in data.items()}
    return {"step": step} | {f"{name}_loss": float((error**2).mean()) for name, error in errors.items()}


def solve(inputs: Floats, outputs: Floats, params: Train) -> Iterator[Step]:
    """The steps of the solver that params name, on inputs (m, d) and outputs (m,); the last is the result."""
    if params.solver == "closed_form":
        return iter([(0, *closed_form(inputs, outputs))])
    return gradient_descent(inputs, outputs, params)


def gradient_descent(inputs: Floats, outputs: Floats, params: Train) -> Iterator[Step]:
    """Gradient descent on the mean squared error over all rows, from 0.

    For m rows (x, y) and predictions y^ = w x + b, a step with learning rate a is, literally:

        w := w - a * (1/m) * sum((y^ - y) * x)
        b := b - a * (1/m) * sum(y^ - y)

    (linear regression by gradient descent; the derivatives of half the mean squared error). Nesterov's acceleration
    takes the same step at a point ahead of (w, b), in the direction of the last step: by (1 - q) / (1 + q) of it,
    q = sqrt(a * mu) (Nesterov 2004, 2.2.1; O'Donoghue and Candes 2015, 2.1), mu being the least curvature.

    Stops where no train row's prediction can be farther than `tolerance` from the closed form's. In the directions
    that the rows span, and from 0 no step leaves them, the loss curves by mu at least. So a point whose gradient is g
    is within |g| / mu of the minimum, and the prediction of a row (x, 1) within |(x, 1)| |g| / mu.

    Raises InputError for a learning rate that diverges, and where `max_steps` do not suffice.
    """
    curvature = measure_curvature(inputs)
    rate = 1 / curvature.largest if params.learning_rate == "auto" else params.learning_rate
    momentum = momentum_of(rate, curvature) if params.acceleration == "nesterov" else 0.0
    check_rate(rate, momentum, curvature)
    m, farthest = len(inputs), float(np.sqrt(np.vecdot(inputs, inputs).max() + 1))
    w, b = ahead_w, ahead_b = np.zeros(inputs.shape[1]), 0.0
    for step in range(params.max_steps + 1):
        yield step, ahead_w, ahead_b
        error = inputs @ ahead_w + ahead_b - outputs
        slope_w, slope_b = (1 / m) * (error @ inputs), (1 / m) * float(error.sum())
        bound = farthest * float(np.sqrt(slope_w @ slope_w + slope_b**2)) / curvature.least
        if bound <= params.tolerance:
            return
        next_w, next_b = ahead_w - rate * slope_w, ahead_b - rate * slope_b
        ahead_w, ahead_b = next_w + momentum * (next_w - w), next_b + momentum * (next_b - b)
        w, b = next_w, next_b
    condition = curvature.largest / curvature.least
    raise InputError(
        f"train.max_steps: after {params.max_steps:,} a prediction may be {bound:.1e} deviations from the "
        f"closed form's, above train.tolerance: {params.tolerance:g}; L / mu = {condition:.3g}"
    )


def measure_curvature(inputs: Floats) -> Curvature:
    """Of half the mean squared error over w and b: eigenvalues of (1/m) X'X with a column of ones in X (m, d + 1)."""
    rows = np.column_stack([inputs, np.ones(len(inputs))])
    eigenvalues = np.linalg.eigvalsh(rows.T @ rows / len(rows))
    return Curvature(float(eigenvalues[-1]), float(eigenvalues[eigenvalues > RANK**2 * eigenvalues[-1]][0]))


def momentum_of(rate: float, curvature: Curvature) -> float:
    """Nesterov's constant for a strongly convex loss, not below 0."""
    q = float(np.sqrt(rate * curvature.least))
    return max(0.0, (1 - q) / (1 + q))


def check_rate(rate: float, momentum: float, curvature: Curvature) -> None:
    """Raise InputError where the steps along the largest curvature L grow.

    With momentum k an error along it is multiplied by the roots of z^2 - (1 + k) (1 - a L) z + k (1 - a L), which lie
    within the unit circle exactly where a L < (2 + 2 k) / (1 + 2 k): 2 without momentum, 4/3 or more with any.
    """
    if rate * curvature.largest >= (2 + 2 * momentum) / (1 + 2 * momentum):
        words, safe = ("4/(3 L)", 4 / 3) if momentum else ("2/L", 2.0)
        raise InputError(
            f"train.learning_rate: {rate:g} diverges; below {words} = {safe / curvature.largest:.4g} it does not"
        )
