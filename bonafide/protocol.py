"""The protocol of tasks: a package in `bonafide.tasks` for each, and in it a module for each role.

A module *is* its role: no class, no registry. A stage loads the roles that it needs by the name in params.yaml, and
dvc.yaml makes it depend on these alone (`bonafide/tasks/${task.name}/score.py`), so that editing how a task is scored
never trains again. `params` is the section `task` of params.yaml, typed by the task's own `params` module.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import numpy.typing as npt
import pyarrow as pa

from bonafide.project.arrays import Floats, Metrics
from bonafide.project.process import importing

Records = Mapping[str, npt.NDArray[Any]]
"""What a system says of each row: name to (n, ...)."""


class Metric(NamedTuple):
    """A number that a system is measured by."""

    name: str
    words: str
    """What it is called in a sentence."""
    higher_is_better: bool


class Schema(Protocol):
    """schema.py, for validate: what may be wrong with a row, and with all of a table.

    A table has `id`, the task's columns (`params.task.columns`), `group` and `split`, null where the source has none.
    """

    def examine(self, table: pa.Table, params: Any) -> Any:
        """What is wrong with each row by itself, and what must hold of all: a bonafide.quality.rows.Examined."""

    def checks(self, kept: pa.Table, params: Any) -> Sequence[Any]:
        """What must hold of the rows that are passed on, now that each has its `split`: bonafide.quality.checks."""

    def show(self, kept: pa.Table, splits: Sequence[str], params: Any) -> Sequence[Any]:
        """What to show of them, by split in the order of `splits`: bonafide.quality.figures."""


class Base(Protocol):
    """base.py, for fetch: which base models can be trained."""

    def check(self, folder: Path | None) -> None:
        """Raise InputError unless the model in `folder` can be loaded, run and trained for this task.

        None stands for `model: null`.
        """


class Encode(Protocol):
    """encode.py, for tokenize: rows to arrays."""

    def prepare(self, base: Path, train: pa.Table, params: Any, folder: Path) -> Any:
        """Write what turns rows into arrays to `folder`, made from the base model or from train; return it."""

    def encode(self, table: pa.Table, processor: Any, params: Any) -> tuple[Any, Metrics]:
        """A split's arrays (bonafide.datasets), and what there is to say of them."""


class Train(Protocol):
    """train.py, for train: fit and save."""

    PARALLEL: bool
    """Whether several processes can train one model together."""

    def train(self, params: Any, *, state: Path) -> Metrics:
        """Fit on data/tokenized, write models/model and the history; `state` is for what is needed after a kill."""


class Model(Protocol):
    """model.py, for train, evaluate and serving: load and predict."""

    def load(self, folder: Path) -> Any:
        """A trained model, as `predict` takes it."""

    def predict(self, model: Any, examples: Any) -> Records:
        """What a model says of each example."""


class Score(Protocol):
    """score.py, for evaluate, compare and promote: metrics as functions of sums over rows."""

    METRICS: Sequence[Metric]
    """The first is the primary one: it carries the verdict."""

    def row_sums(self, answers: Any, records: Any) -> Floats:
        """What each row adds to the sums, (n, columns)."""

    def metrics(self, sums: Floats) -> Mapping[str, Floats]:
        """Each metric, (...), of sums (..., columns)."""


class Baselines(Protocol):
    """baselines.py, for evaluate and report: what the model has to beat."""

    BASELINES: Mapping[str, str]
    """Each system's name, and what it is in words; from the strongest to the weakest."""

    REFERENCE: str
    """The one that the verdict is against."""


Role = TypeVar("Role")


def load(task: str, role: type[Role]) -> Role:
    """The module of a task that plays a role: `bonafide/tasks/<task>/<role>.py`."""
    with importing():  # torch and transformers among them
        return cast("Role", import_module(f"bonafide.tasks.{task}.{role.__name__.lower()}"))
