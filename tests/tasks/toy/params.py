"""Its sections of params.yaml: what all tasks share, and nothing else."""

from typing import Any

from bonafide.params import sections
from bonafide.params.pins import typed
from bonafide.params.sections import Evaluate, Validate

__all__ = ["Evaluate", "Task", "Tokenize", "Train", "Validate"]

SPELLED = ("task", "")


@typed
class Task(sections.Task):
    """Things and what they weigh."""

    @property
    def columns(self) -> dict[str, str]:
        """A name and a number."""
        return {"thing": "text", "weight": "number"}


@typed
class Tokenize:
    """Nothing to choose."""


@typed
class Train:
    """Nothing to choose."""


def check(params: Any) -> None:
    """Nothing can contradict itself."""
