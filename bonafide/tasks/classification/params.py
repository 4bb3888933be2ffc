"""The sections of params.yaml that classification has of its own."""

from typing import Annotated, Any, Literal

from pydantic import Field

from bonafide.params import sections
from bonafide.params.pins import typed
from bonafide.params.sections import Count, Name, refuse_repeated
from bonafide.params.training import Recipe as Train

__all__ = ["Evaluate", "Task", "Tokenize", "Train", "Validate"]

SPELLED = ("task", "labels")  # values that are taken as they are spelled, not as YAML reads them


@typed
class Task(sections.Task):
    """Which labels a text may have."""

    labels: list[Name]
    """Label values as the table spells them, in the order of the model's outputs."""

    @property
    def columns(self) -> dict[str, str]:
        """A text and its label."""
        return {"text": "text", "label": "category"}

    def __post_init__(self) -> None:
        """Refuse fewer than two labels, blanks around one, and a name that is there twice or looks like another."""
        if len(self.labels) < 2:
            raise ValueError(f"labels: {self.labels or 'none'}: a classifier tells two or more labels apart")
        blank = next((label for label in self.labels if label != label.strip()), None)
        if blank is not None:
            raise ValueError(f"labels: {blank!r} has blanks around it, which no label of a table keeps")
        refuse_repeated("labels", self.labels)


@typed
class Validate(sections.Validate):
    """The gate."""

    min_characters: Annotated[int, Field(ge=1)]
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)]
    min_rows_per_class: Count
    max_label_shift: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    near_duplicate_similarity: Annotated[float, Field(ge=0.5, le=1, allow_inf_nan=False)]
    personal_data: Literal["report", "mask", "fail"]


@typed
class Tokenize:
    """Texts to ids."""

    max_length: Annotated[int, Field(ge=4, le=8192)]
    """Tokens per text, special ones included."""


@typed
class Evaluate(sections.Evaluate):
    """Intervals, slices, the margin of the verdict and the bins of the calibration."""

    calibration_bins: Annotated[int, Field(ge=2, le=100)]


def check(params: Any) -> None:
    """Raise ValueError where exact sums cannot be shared by the processes."""
    train, processes = params.train, params.machine.processes
    if train.exact and train.shards % (processes * train.accumulation):
        parts = f"machine.processes x accumulation ({processes} x {train.accumulation})"
        raise ValueError(f"train.shards: {train.shards} cannot be shared by {parts}; or set train.exact to false")
