"""The sections of params.yaml that the tasks share which learn from texts alone."""

from typing import Annotated, Literal

from pydantic import Field

from bonafide.params import sections
from bonafide.params.pins import typed
from bonafide.params.sections import Count

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


@typed
class Task(sections.Task):
    """Texts, and nothing else."""

    @property
    def columns(self) -> dict[str, str]:
        """A text."""
        return {"text": "text"}


@typed
class Validate(sections.Validate):
    """The gate."""

    min_characters: Annotated[int, Field(ge=1)]
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)]
    min_rows: Count
    """In each of train, validation and test."""
    max_lacunae: Share
    """Of a text's characters, those that stand for lost ones."""
    max_repeated_lines: Share
    """Of the characters of all lines, those in lines that several texts have."""
    max_unknown_characters: Share
    """Of a split's characters, those that train lacks."""
    max_known_ngrams: Share
    """Of a split's 8-grams, those that train has."""
    near_duplicate_similarity: Annotated[float, Field(ge=0.5, le=1, allow_inf_nan=False)]
    personal_data: Literal["report", "mask", "fail"]
