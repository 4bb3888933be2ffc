"""The roles of a task: params, schema, base, encode, train, model, score, baselines, panels, card, serve.

A task is a package in `bonafide.tasks`, with a module for each. A module *is* its role: no class, no registry. A stage
loads the roles that it needs by the name in params.yaml, and dvc.yaml makes it depend on these alone
(`bonafide/tasks/${task.name}/score.py`), so that editing how a task is scored never trains again.
`params` is all of params.yaml, typed by the task's own `params` module.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import numpy.typing as npt
import pyarrow as pa

from bonafide.project.arrays import Arrays, Floats, Metrics
from bonafide.project.process import importing

Outputs = npt.NDArray[Any]
"""What a system says of each row: (n, m) class probabilities, (n,) values, or an (n,) structured array.

The fields of the last are float64 (NaN where a system has no such number) or objects (texts; None for no text).
"""

Targets = npt.NDArray[Any]
"""The truth of each row, (n,): labels or texts (strings), or numbers."""

Rows = Sequence[Mapping[str, Any]]
"""Rows as they come to a service: name of a column to value."""

Facts = Mapping[str, Any]
"""What JSON can hold."""


class Metric(NamedTuple):
    """A number that a system is measured by."""

    name: str
    words: str
    """What it is called in a sentence."""
    higher_is_better: bool
    is_biased: bool = False
    """Whether resampling moves it away from 0, as it does an error that is 0 at best: its interval is reflected."""
    unit: str = ""
    """The margin that matters is in the primary metric's; it says nothing of metrics of other units."""


class System(NamedTuple):
    """The model or a baseline."""

    name: str
    words: str
    """What it is called in a sentence: the shell."""
    meaning: str
    """What it does, for somebody who knows it not."""


MODEL_SYSTEM = "model"
"""The name of the trained model among the systems; its column in predictions.parquet."""


class Split(NamedTuple):
    """One split as evaluate has it."""

    table: pa.Table
    """The validated rows, but for columns of images, which memory may not hold; `examples` has their pixels."""
    examples: Arrays
    """The same rows as `encode` left them."""
    shown: bool = True
    """Whether its words and pictures are: the panels of others that have any are dropped."""


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

    def predict(self, model: Any, examples: Arrays) -> Outputs:
        """What a model says of each example; `examples` is a split as `encode` left it."""


class Score(Protocol):
    """score.py, for evaluate, compare, promote and sweeps: metrics as functions of sums over rows.

    `settings` is what the functions have to know; it is kept in evaluation.json, so that predictions can be read again.
    """

    METRICS: Sequence[Metric]
    """The first is the primary one: it carries the verdict."""

    RATE: str | None
    """The metric that is a share of rows, 0 or 1 for a single one: what is right, in slices and in McNemar's test.

    With None, slices are shown by the primary metric, and there is no McNemar's test.
    """

    TARGET: str
    """Our column of the truth."""

    def settings(self, params: Any) -> Facts:
        """What the functions below have to know, from params.yaml and data/tokenized; what differs is not compared."""

    def comparable(self, outputs: Outputs, settings: Facts) -> tuple[Outputs, Facts]:
        """Both in a form that two revisions share: of equal settings in another order the same."""

    def row_sums(self, targets: Targets, outputs: Outputs, settings: Facts) -> Floats:
        """What each row adds to the sums, (n, columns); raise ValueError where outputs are none of this task."""

    def metrics(self, sums: Floats, settings: Facts) -> Mapping[str, Floats]:
        """Each metric, (...), of sums (..., columns); NaN where it is not defined or the system has no such number.

        Such a metric is null in evaluation.json, an en dash on pages, and neither tested nor sent to MLflow.
        """


class Baselines(Protocol):
    """baselines.py, for evaluate: what the model has to beat."""

    BASELINES: Sequence[System]
    """All that there may be, from the strongest to the weakest; the verdict is against the first that was predicted.

    So the base model as it came can be the reference of whoever has one, and the next in line that of the others.
    """

    def predict(self, splits: Mapping[str, Split], params: Any) -> Mapping[str, Mapping[str, Outputs]]:
        """What each baseline, fitted on train, says of the rows of each split but train: by system, then by split.

        A baseline of BASELINES that cannot be had here (no models/base) is left out.
        """


class Panels(Protocol):
    """panels.py, for evaluate: where the model errs, as the report shows it."""

    def slices(self, split: Split) -> Mapping[str, tuple[Sequence[str], Sequence[str]]]:
        """Slices beside those by the user's columns: by name, the value of each row, and all values in order."""

    def panels(self, split: Split, outputs: Outputs, sums: Any, params: Any) -> Sequence[Any]:
        """What to show of the model on a split (evaluation.panels.Panel); `sums` is its evaluation.estimates.Sums."""


class Card(Protocol):
    """card.py, for report: what the model card says of a model of this task."""

    PIPELINE: str
    """The task's name on Hugging Face's Hub."""

    LIBRARY: str
    """By which the model is loaded."""

    HUB_METRICS: Mapping[str, str]
    """Our metrics that the Hub knows, by the Hub's names."""

    def describe(self, params: Any) -> str:
        """How a sentence on what it is begins: Markup of Markdown, with words of others in code spans."""

    def usage(self, params: Any) -> str:
        """How to load it, as Markup of Markdown."""


class Serve(Protocol):
    """serve.py, for promotion and serving: rows as they come to answers, the way evaluate's rows went."""

    def config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """How rows are treated, from a revision's params.yaml as it is written; raise KeyError where that lacks it."""

    def load(self, folder: Path, config: Mapping[str, Any]) -> Any:
        """A model and all that its rows need; raise InputError where it is damaged or wants to run code of its own."""

    def refuse(self, model: Any, rows: Rows) -> None:
        """Raise InputError that names the first row that no answer can be given to."""

    def predict(self, model: Any, rows: Rows) -> Outputs:
        """As `Model.predict`; called by one thread at a time."""

    def answers(self, model: Any, outputs: Outputs) -> Mapping[str, Sequence[Any]]:
        """The columns of an answer."""

    def signature(self, model: Any) -> tuple[Any, Any]:
        """Of what comes in and what goes out, as mlflow.types.Schema."""

    def examples(self, model: Any) -> Rows:
        """Made-up rows, the same for the same model, by whose outputs a changed environment is known."""


Role = TypeVar("Role")


def load(task: str, role: type[Role]) -> Role:
    """The module of a task that plays a role: `bonafide/tasks/<task>/<role>.py`."""
    with importing():  # torch and transformers among them
        return cast("Role", import_module(f"bonafide.tasks.{task}.{role.__name__.lower()}"))
