"""Linear regression's model: prediction = w x + b on standardised features; least squares, save and load.

The target is standardised too, or its logarithm is, so that learning rate, loss and tolerance have no unit. A saved
model is `model.safetensors` (`weight` (d,), `bias` (1,), float64) and `config.json` (what the features and the target
were made of); `serve.load(folder).predict(rows)` takes rows as they come.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.project.arrays import Floats
from bonafide.project.errors import InputError
from bonafide.project.files import read_json, write_bytes, write_json

Examples = Mapping[str, Floats]
"""`features` (n, d) and `target` (n,)."""

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


def measure_target(values: Floats, *, logarithm: bool) -> Target:
    """Mean and deviation of train's target (n,), or of its logarithm."""
    values = np.log(values) if logarithm else values
    return Target(logarithm, float(values.mean()), float(values.std()) or 1.0, 1.0)


def closed_form(inputs: Floats, outputs: Floats) -> tuple[Floats, float]:
    """The least squares of least norm, by singular values: weight (d,) and bias. Columns may depend on each other."""
    rows = np.column_stack([inputs, np.ones(len(inputs))])
    solution = np.linalg.lstsq(rows, outputs, rcond=RANK)[0].astype(np.float64)
    return solution[:-1], float(solution[-1])


def linear(inputs: Floats, weight: Floats, bias: float) -> Floats:
    """Outputs (n,) of inputs (n, d), each by a dot product of its own: the same bits whatever rows are beside it."""
    outputs: Floats = np.vecdot(inputs, weight) + bias
    return outputs


def predict(model: Linear, examples: Examples) -> Floats:
    """The predicted value of each row, (n,) float64, in the target's unit."""
    return model.target.restore(linear(examples["features"], model.weight, model.bias))


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
