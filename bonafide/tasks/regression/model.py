"""Linear regression: prediction = w x + b on standardised features, fitted by gradient descent or in closed form.

The target is standardised too, or its logarithm is, so that learning rate, loss and tolerance have no unit. A saved
model is `model.safetensors` (`weight` (d,), `bias` (1,), float64) and `config.json` (what the features and the target
were made of); `predictor.load(folder)` predicts from rows as they come.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.project.arrays import Floats
from bonafide.project.errors import InputError
from bonafide.project.files import read_json, write_bytes, write_json
from bonafide.tasks.regression.params import Train

Examples = Mapping[str, Floats]
"""`features` (n, d) and `target` (n,)."""

Step = tuple[int, Floats, float]
"""A step's number, and weight (d,) and bias there."""

KIND, VERSION = "bonafide-linear-regression", 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
RANK = 1e-6  # spread of the rows in a direction, as a share of the widest, below which it is rounding


@dataclass(frozen=True)
class Target:
    """How the target's unit and the model's are converted."""

    logarithm: bool
    mean: float
    """Of train's targets or their logarithms, as is the deviation."""
    deviation: float
    smearing: float
    """Mean of exp(residual) on train: exp of a predicted logarithm is a median, times this it is a mean (Duan 1983)."""

    def standardise(self, values: Floats) -> Floats:
        """From the target's unit, (n,)."""
        standardised: Floats = ((np.log(values) if self.logarithm else values) - self.mean) / self.deviation
        return standardised

    def restore(self, outputs: Floats) -> Floats:
        """To the target's unit, (n,)."""
        values = outputs * self.deviation + self.mean
        return np.exp(values) * self.smearing if self.logarithm else values


@dataclass(frozen=True)
class Linear:
    """A fitted model."""

    weight: Floats
    """(d,) float64, of standardised features."""
    bias: float
    target: Target
    processor: list[dict[str, Any]]
    """encode's features, as JSON has them."""


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


def measure_target(values: Floats, *, logarithm: bool) -> Target:
    """Mean and deviation of train's target (n,), or of its logarithm."""
    values = np.log(values) if logarithm else values
    return Target(logarithm, float(values.mean()), float(values.std()) or 1.0, 1.0)


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


def closed_form(inputs: Floats, outputs: Floats) -> tuple[Floats, float]:
    """The least squares of least norm, by singular values: weight (d,) and bias. Columns may depend on each other."""
    rows = np.column_stack([inputs, np.ones(len(inputs))])
    solution = np.linalg.lstsq(rows, outputs, rcond=RANK)[0].astype(np.float64)
    return solution[:-1], float(solution[-1])


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


def linear(inputs: Floats, weight: Floats, bias: float) -> Floats:
    """Outputs (n,) of inputs (n, d), each by a dot product of its own: the same bits whatever rows are beside it."""
    outputs: Floats = np.vecdot(inputs, weight) + bias
    return outputs


def predict(model: Linear, examples: Examples) -> dict[str, Floats]:
    """The predicted `value` of each row, (n,) float64, in the target's unit."""
    return {"value": model.target.restore(linear(examples["features"], model.weight, model.bias))}


def save(folder: Path, model: Linear) -> None:
    """Write model.safetensors and config.json."""
    from safetensors.numpy import save as as_bytes

    write_bytes(folder / WEIGHTS, as_bytes({"weight": model.weight, "bias": np.array([model.bias])}))
    config = {"model_type": KIND, "version": VERSION, "features": model.processor, "target": asdict(model.target)}
    write_json(folder / CONFIG, config)


def load(folder: Path) -> Linear:
    """Read what `save` wrote; raise InputError for another kind of model."""
    from safetensors.numpy import load_file

    config = read_json(folder / CONFIG)
    if (config.get("model_type"), config.get("version")) != (KIND, VERSION):
        raise InputError(f"{folder / CONFIG}: not a {KIND} of version {VERSION}")
    tensors = load_file(folder / WEIGHTS)
    return Linear(tensors["weight"], float(tensors["bias"][0]), Target(**config["target"]), config["features"])
