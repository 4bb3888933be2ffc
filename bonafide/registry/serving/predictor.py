"""A packaged model that answers rows as they come, by its task's `serve` role, and whether it answers as before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.project.errors import InputError
from bonafide.protocol import Outputs, Rows, Serve
from bonafide.protocol import load as load_role

Config = dict[str, Any]

DRIFT = 0.01  # of the largest output: rounding to bf16, on a GPU, stays below; another encoding of the rows does not


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
        """The largest difference between the outputs of rows now and the `expected`, by the largest of these or 1."""
        expected = np.asarray(expected, dtype=np.float64)
        moved = np.abs(self.predict(rows) - expected).max(initial=0)
        return float(moved / max(1.0, np.abs(expected).max(initial=0)))


def config(params: Mapping[str, Any]) -> Config:
    """How a revision's rows were treated, from its params.yaml; raise KeyError where that does not say."""
    task = params["task"]["name"]
    return {"task": task, **load_role(task, Serve).config(params)}


def load(folder: Path, config: Config) -> Predictor:
    """Load a model; raise InputError where it is damaged or wants to run code of its own."""
    role = load_role(config["task"], Serve)
    return Predictor(role, role.load(folder, config), config)
