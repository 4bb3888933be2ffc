"""The sections of params.yaml that translation has of its own."""

from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from bonafide.params import sections
from bonafide.params.pins import typed
from bonafide.params.sections import Count, Evaluate, Fraction, Positive
from bonafide.params.training import Recipe

__all__ = ["Evaluate", "Task", "Tokenize", "Train", "Validate"]

SPELLED = ("task", "")  # no value is taken as it is spelled

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
"""ISO 639, as in zh."""
Unit = Literal["words", "characters"]
Whole = Annotated[int, Field(ge=1, le=65536)]


@typed
class Task(sections.Task):
    """From which language into which."""

    source_language: Language
    target_language: Language

    @property
    def columns(self) -> dict[str, str]:
        """A text and its translation."""
        return {"source": "text", "target": "text"}


@typed
class Validate(sections.Validate):
    """The gate."""

    min_characters: Annotated[int, Field(ge=1)]
    """Of either side."""
    max_characters: Annotated[int, Field(ge=1, le=1_000_000)]
    source_unit: Unit
    """What a source's length is counted in, for the ratio."""
    target_unit: Unit
    min_ratio: Positive
    """Of the target's length to the source's."""
    max_ratio: Positive
    target_script: str | None
    """Unicode script that a target's letters are of, as Han or Latin; null: not looked at."""
    min_script_share: Fraction
    """Of a target's letters."""
    numerals: Literal["report", "set_aside"]
    """Of pairs whose numerals differ."""
    personal_data: Literal["report", "mask", "fail"]
    min_rows: Count
    """In each of train, validation and test."""

    def __post_init__(self) -> None:
        """Refuse a script that Unicode has not, and a ratio that nothing has."""
        if self.min_ratio > self.max_ratio:
            raise ValueError(f"min_ratio: {self.min_ratio:g} is above max_ratio: {self.max_ratio:g}")
        try:
            pc.match_substring_regex(pa.array([""]), rf"\p{{{self.target_script or 'Latin'}}}")
        except pa.ArrowInvalid:
            raise ValueError(
                f"target_script: {self.target_script!r} is no script of Unicode, as Han or Latin"
            ) from None


@typed
class Tokenize:
    """Texts to ids."""

    vocabulary: Literal["bpe", "characters", "base"]
    """Trained on train's sources and targets together, or the base model's own."""
    vocabulary_size: Annotated[int, Field(ge=100, le=1_000_000)]
    """Ids in all, of bpe."""
    max_length: Annotated[int, Field(ge=4, le=8192)]
    """Tokens of a source, of a target and of a translation, the end included."""
    prefix: Annotated[str, Field(max_length=200)]
    """What a base model wants before each source, as `>>cmn_Hans<< `; else empty."""


@typed
class Architecture:
    """The sizes of a model that is trained from nothing."""

    kind: Literal["marian"]
    """The Transformer of Vaswani et al. (2017), post-norm, ReLU, sinusoidal positions, one embedding for all."""
    width: Whole
    layers: Whole
    """Of the encoder, and as many of the decoder."""
    heads: Whole
    feed_forward: Whole
    positions: Whole
    """Tokens that a source or a target may have."""

    def __post_init__(self) -> None:
        """Refuse heads that do not share the width."""
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width: {self.width} is not a multiple of 2 and of {self.heads} heads")


@typed
class Decoding:
    """How a translation is searched for; it is kept in the model's generation_config.json."""

    beams: Annotated[int, Field(ge=1, le=64)]
    """1: greedy."""
    length_penalties: Annotated[list[Annotated[float, Field(ge=-5, le=5)]], Field(min_length=1)]
    """Exponents of the length by which a translation's log-probability is divided, to choose from on validation."""
    tried_rows: Count
    """Of validation, to choose on."""


@typed
class Train(Recipe):
    """The network and how it is fitted."""

    architecture: Architecture | None
    """Of a model from nothing; null where there is a base model."""
    label_smoothing: Fraction
    """Share of each target token's weight that all tokens get alike (Szegedy et al. 2016)."""
    decoding: Decoding


def check(params: Any) -> None:
    """Raise ValueError unless there is either a base model or an architecture, with a vocabulary and positions.

    Low-rank changes are refused: the head is the embedding table, of which they would make two.
    """
    if params.train.trainable != "all":
        raise ValueError(f"train.trainable: {params.train.trainable}: of a translator all weights are trained: all")
    architecture, vocabulary = params.train.architecture, params.tokenize.vocabulary
    if (params.model is None) == (architecture is None):
        raise ValueError("train.architecture: wanted where model is null, and only there")
    if (params.model is None) == (vocabulary == "base"):
        raise ValueError("tokenize.vocabulary: base is for a base model, bpe and characters where model is null")
    if architecture is not None and architecture.positions < params.tokenize.max_length:
        raise ValueError(f"train.architecture.positions: below tokenize.max_length: {params.tokenize.max_length}")
