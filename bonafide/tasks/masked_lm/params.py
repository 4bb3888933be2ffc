"""The sections of params.yaml that masked language models have of their own."""

from typing import Annotated, Any, Literal

from pydantic import Field

from bonafide.params.corpus import Share, Task, Validate
from bonafide.params.pins import typed
from bonafide.params.sections import Evaluate
from bonafide.params.training import Recipe

__all__ = ["Evaluate", "Task", "Tokenize", "Train", "Validate"]

SPELLED = ("task", "")  # no value is taken as it is spelled

Part = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


@typed
class Tokenize:
    """Documents to texts of tokens, and what of them is hidden."""

    vocabulary: Literal["base", "bpe", "characters"]
    """The base model's, or one made from train."""
    vocabulary_size: Annotated[int, Field(ge=80, le=1_000_000)]
    """Of bpe."""
    max_length: Annotated[int, Field(ge=8, le=8192)]
    """Tokens of a text, special ones included: a longer document is cut into several."""
    mlm_probability: Part
    """Share of a text's tokens that training hides, anew in each epoch."""
    mask_replace_prob: Share
    """Of these, the share that the mask token stands for."""
    random_replace_prob: Share
    """Of these, the share that another token stands for; the rest stay as they are."""
    evaluated: Part
    """Share of a document's tokens that validation and evaluation hide, always the same, all behind the mask token."""
    next_sentence: bool
    """Whether it also learns to tell whether one part of a text follows another."""

    def __post_init__(self) -> None:
        """Refuse shares above one."""
        if self.mask_replace_prob + self.random_replace_prob > 1:
            raise ValueError("mask_replace_prob + random_replace_prob: above 1 together")


@typed
class Architecture:
    """A model that begins with random weights."""

    kind: Literal["modernbert", "bert"]
    width: Annotated[int, Field(ge=32, le=8192)]
    layers: Annotated[int, Field(ge=1, le=100)]
    heads: Annotated[int, Field(ge=1, le=128)]
    feed_forward: Annotated[int, Field(ge=1, le=65536)]
    positions: Annotated[int, Field(ge=8, le=8192)]
    """The longest text that it will ever take, in tokens."""

    def __post_init__(self) -> None:
        """Refuse heads that do not share the width, or an odd part of it, which cannot be turned."""
        if self.width % (2 * self.heads):
            raise ValueError(f"heads: {self.heads} cannot share a width of {self.width}: each has an even part of it")


@typed
class Train(Recipe):
    """Pretraining, or going on with it."""

    architecture: Architecture | None
    """Null where there is a base model, which has one."""


def check(params: Any) -> None:
    """Raise ValueError where keys contradict each other."""
    train, tokenize = params.train, params.tokenize
    parts = params.machine.processes * train.accumulation
    if train.exact and train.shards % parts:
        shared = f"machine.processes x accumulation ({params.machine.processes} x {train.accumulation})"
        raise ValueError(f"train.shards: {train.shards} cannot be shared by {shared}; or set train.exact to false")
    if (params.model is None) != (train.architecture is not None):
        what = "null, so train.architecture" if params.model is None else "a base model, whose train.architecture"
        raise ValueError(f"model: {what} must {'say what to build' if params.model is None else 'be null'}")
    if params.model is None and tokenize.vocabulary == "base":
        raise ValueError("tokenize.vocabulary: base, but model is null: bpe or characters")
    if params.model is not None and tokenize.vocabulary != "base":
        raise ValueError(f"tokenize.vocabulary: {tokenize.vocabulary}, but a base model knows its own alone: base")
    if train.architecture is None:
        return
    if tokenize.max_length > train.architecture.positions:
        raise ValueError(f"tokenize.max_length: {tokenize.max_length} is above train.architecture.positions")
    if tokenize.next_sentence and train.architecture.kind != "bert":
        raise ValueError("tokenize.next_sentence: needs train.architecture.kind: bert, which alone has a head for it")
