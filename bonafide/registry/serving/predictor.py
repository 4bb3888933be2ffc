"""A packaged model that answers rows as they come, by its task's `serve` role, and whether it answers as before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.project.errors import InputError
from bonafide.protocol import Outputs, Rows, Serve
from bonafide.protocol import load as load_role

Config = dict[str, Any]

DRIFT = 0.01  # of the largest output: rounding to bf16, on a GPU, stays below; another encoding of the rows does not
FLIPPED = 0.1  # of the texts: where two continuations are nearly as likely, rounding chooses


@dataclass(frozen=True)
class Predictor:
    """A model folder and how its rows are treated."""

    role: Serve
    model: Any
    config: Config
    """`task`, and what its `serve` role has to know."""

    def predict(self, rows: Rows) -> Outputs:
        """Outputs (n, ...); one thread at a time."""
        return self.role.predict(self.model, rows)

    def refuse(self, rows: Rows) -> None:
        """Raise InputError that says why no answer can be given."""
        if not rows:
            raise InputError("no rows")
        self.role.refuse(self.model, rows)

    def answers(self, outputs: Outputs) -> Mapping[str, Sequence[Any]]:
        """The columns of an answer."""
        return self.role.answers(self.model, outputs)

    def drift(self, rows: Rows, expected: Any) -> float:
        """How far the outputs of rows now are from the `expected`, arrays or `as_json`; up to DRIFT it is nothing."""
        found = self.predict(rows)
        if not found.dtype.names:
            return drift(found, np.asarray(expected, dtype=found.dtype))
        if not isinstance(expected, np.ndarray):
            expected = np.array([*map(tuple, expected)], dtype=found.dtype)
        shared = [name for name in found.dtype.names if name in expected.dtype.names]  # a service may say more
        told = [name for name in shared if not is_unknown(found[name])]
        return max((drift(found[name], expected[name]) for name in told), default=np.inf)


def drift(found: Outputs, expected: Outputs) -> float:
    """The largest difference of numbers, by the largest expected one or 1; of texts the share that differs, scaled."""
    if found.dtype == object:
        return float((found != expected).mean() * DRIFT / FLIPPED)
    if (np.isnan(found) != np.isnan(expected)).any():
        return np.inf
    found, expected = np.nan_to_num(found), np.nan_to_num(expected)
    return float(np.abs(found - expected).max(initial=0) / max(1.0, np.abs(expected).max(initial=0)))


def is_unknown(field: Outputs) -> bool:
    """Whether a field is of what follows from the truth, which nobody who asks a service sends."""
    return field.dtype != object and bool(np.isnan(field).all())


def as_json(outputs: Outputs) -> list[Any]:
    """Outputs as lists that JSON can hold: it has no NaN, and null becomes NaN again."""
    rows: list[Any] = outputs.tolist()
    if not outputs.dtype.names:
        return rows
    return [[None if isinstance(x, float) and isnan(x) else x for x in row] for row in rows]


def config(params: Mapping[str, Any]) -> Config:
    """How a revision's rows were treated, from its params.yaml; raise KeyError where that does not say."""
    task = params["task"]["name"]
    return {"task": task, **load_role(task, Serve).config(params)}


def load(folder: Path, config: Config) -> Predictor:
    """Load a model; raise InputError where it is damaged or wants to run code of its own."""
    role = load_role(config["task"], Serve)
    return Predictor(role, role.load(folder, config), config)
