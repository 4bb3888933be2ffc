"""A linear model on rows as they come, with evaluate's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.project.arrays import Floats
from bonafide.project.errors import InputError
from bonafide.protocol import Rows
from bonafide.tasks.regression import encode
from bonafide.tasks.regression import model as own


@dataclass(frozen=True)
class Predictor:
    """A model and the processor in its config."""

    linear: own.Linear
    processor: encode.Processor

    def predict(self, rows: Any) -> Floats:
        """Values (n,) in the target's unit of rows: a list of dicts, a dict of lists, an Arrow table, a data frame.

        Raises InputError for a missing column and for what is no finite number.
        """
        columns = as_columns(rows) if isinstance(rows, list) else rows
        return own.predict(self.linear, {"features": encode.design_matrix(columns, self.processor)})

    @property
    def kinds(self) -> dict[str, str]:
        """Each column that a row needs, and whether it is a number or a category."""
        return {one.column: "number" if one.value is None else "category" for one in self.processor}


def as_columns(rows: Rows) -> dict[str, list[Any]]:
    """Rows by column; what a row lacks is None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def config(params: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Nothing: a model knows all that was made of its rows."""
    return {}


def load(folder: str | Path, config: Mapping[str, Any] | None = None) -> Predictor:  # noqa: ARG001
    """The predictor of a model's folder, safetensors and config.json."""
    linear = own.load(Path(folder))
    return Predictor(linear, encode.from_json(linear.processor))


def refuse(model: Predictor, rows: Rows) -> None:
    """Raise InputError that names the first row that lacks a number."""
    if not rows:
        raise InputError("no rows")
    for number, row in enumerate(rows):
        for name, kind in model.kinds.items():
            value = row.get(name)
            if kind == "number" and not is_finite(value):
                raise InputError(f"row {number}: {name!r} is no finite number")
            if name not in row:
                raise InputError(f"row {number}: the column {name!r} is missing")
    model.predict(list(rows))


def is_finite(value: Any) -> bool:
    """Whether a value is a number, be it written as one."""
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False


def predict(model: Predictor, rows: Rows) -> Floats:
    """Values (n,) in the target's unit."""
    return model.predict(list(rows))


def answers(model: Predictor, outputs: Floats) -> dict[str, Sequence[Any]]:  # noqa: ARG001
    """`value` of each row."""
    return {"value": outputs.tolist()}


def signature(model: Predictor) -> tuple[Any, Any]:
    """The columns of the features in, a number out."""
    from mlflow.types import ColSpec, DataType, Schema

    types = {"number": DataType.double, "category": DataType.string}
    inputs = (ColSpec(types[kind], name) for name, kind in model.kinds.items())
    return Schema([*inputs]), Schema([ColSpec(DataType.double, "value")])


def examples(model: Predictor, rows: int = 16) -> list[dict[str, Any]]:
    """Rows about the mean of each column, the same for the same model."""
    drawn = np.random.default_rng(0).normal(size=(rows, len(model.processor)))
    made: list[dict[str, Any]] = [{} for _ in range(rows)]
    for column, feature in enumerate(model.processor):
        for row in range(rows):
            if feature.value is None:
                value = feature.mean + 0.1 * feature.deviation * float(drawn[row, column])
                made[row][feature.column] = float(np.exp(value)) if feature.logarithm else value
            elif drawn[row, column] > drawn[row, :column].max(initial=-1) or feature.column not in made[row]:
                made[row][feature.column] = feature.value
    return made
