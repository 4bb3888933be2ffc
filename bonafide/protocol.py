"""The Task protocol: the whole vocabulary of what differs between jobs.

A module of this folder *is* a Task: no class, no registry. `load_task` imports the one that params.yaml names, and
dvc.yaml depends on `tasks/${task}.py`, so that editing one task never re-runs another.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from bonafide.project.arrays import Floats, Ints, Metrics


class Task(Protocol):
    """What a task module provides."""

    COLUMNS: tuple[str, ...]
    """Columns that every table of this task has."""

    PRIMARY_METRIC: tuple[str, Literal["max", "min"]]
    """The metric that chooses the best epoch and carries the verdict, and which way is better."""

    def expectations(self, params: Any, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Great Expectations in their serialised form, from the `validate` section: tasks never import GX."""

    def load_processor(self, source: Path) -> Any:
        """The tokenizer of a model folder."""

    def settle_processor(self, folder: Path) -> None:
        """Put into a tokenizer's files what a stock pipeline needs to make the batches that are trained on."""

    def encode(self, texts: Sequence[str], processor: Any, max_length: int) -> tuple[list[list[int]], Ints]:
        """Model inputs of each row and its full length in tokens (before cutting), (n,) int64."""

    def build_model(self, source: Path, labels: Sequence[str], dropout: float) -> Any:
        """The base model with a fresh head."""

    def probe(self, source: Path) -> list[list[int]]:
        """Model inputs of some texts of different lengths, to try a model on."""

    def loss(self, logits: Any, labels: Any) -> Any:
        """Nats of each text, (n,), from fp32 logits (n, classes) and labels (n,): tensors."""

    def predict(self, model: Any, batch: Any) -> Floats:
        """One record per example: class probabilities, (n, classes) float64."""

    def score(self, labels: Ints, predictions: Floats) -> Metrics:
        """Metrics of predictions (n, classes) against labels (n,)."""


def load_task(name: str) -> Task:
    """The task module `tasks/<name>.py`."""
    return cast("Task", import_module(f"bonafide.tasks.{name}.task"))
