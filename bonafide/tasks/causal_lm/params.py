"""The sections of params.yaml that causal language models have of their own."""

from typing import Annotated, Any, Literal

from pydantic import Field

from bonafide.params import sections
from bonafide.params.corpus import Task, Validate
from bonafide.params.pins import typed
from bonafide.params.training import Recipe

__all__ = ["Evaluate", "Task", "Tokenize", "Train", "Validate"]

SPELLED = ("task", "")  # no value is taken as it is spelled


@typed
class Tokenize:
    """Documents to tokens, and the windows that they are read in."""

    vocabulary: Literal["characters", "bpe", "base"]
    """Made from train, or the base model's."""
    vocabulary_size: Annotated[int, Field(ge=80, le=1_000_000)]
    """Of bpe."""
    context: Annotated[int, Field(ge=8, le=8192)]
    """The most tokens that the model reads at once."""
    end: bool
    """Whether a document's end is a token to be predicted."""


@typed
class Architecture:
    """A model that begins with random weights."""

    kind: Literal["llama", "qwen3", "gpt2"]
    width: Annotated[int, Field(ge=16, le=8192)]
    layers: Annotated[int, Field(ge=1, le=100)]
    heads: Annotated[int, Field(ge=1, le=128)]
    key_value_heads: Annotated[int, Field(ge=1, le=128)]
    """As many as heads, or fewer that several heads share."""
    feed_forward: Annotated[int, Field(ge=1, le=65536)]
    tied: bool
    """Whether the head's weights are the embeddings."""

    def __post_init__(self) -> None:
        """Refuse heads that do not share the width, or an odd part of it, or that cannot share keys and values."""
        if self.width % (2 * self.heads):
            raise ValueError(f"heads: {self.heads} cannot share a width of {self.width}: each has an even part of it")
        if self.heads % self.key_value_heads:
            raise ValueError(f"key_value_heads: {self.key_value_heads} cannot be shared by {self.heads} heads")
        if self.kind == "gpt2" and self.key_value_heads != self.heads:
            raise ValueError("key_value_heads: of gpt2 as many as heads")


@typed
class Train(Recipe):
    """Pretraining, or going on with it."""

    architecture: Architecture | None
    """Null where there is a base model, which has one."""


@typed
class Samples:
    """What the model is asked to write."""

    prompt: str
    """Which each sample goes on from; empty: a document's start."""
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]]
    """One a sample."""
    tokens: Annotated[int, Field(ge=1, le=8192)]
    """The most of a sample."""
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
    """By which logits are divided; 0: always the most likely token."""
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    """Only the fewest tokens that have this probability together are drawn."""
    served: bool
    """Whether a service goes on with each text, too, by the first seed."""

    def __post_init__(self) -> None:
        """Refuse a service without a seed."""
        if self.served and not self.seeds:
            raise ValueError("served: true, but there is no seed")


@typed
class Evaluate(sections.Evaluate):
    """Intervals, slices, the margin of the verdict, n-grams and samples."""

    max_order: Annotated[int, Field(ge=1, le=12)]
    """The highest order of the n-gram models of which validation chooses one."""
    samples: Samples


def check(params: Any) -> None:
    """Raise ValueError where keys contradict each other."""
    train, vocabulary = params.train, params.tokenize.vocabulary
    if train.exact and train.shards % (params.machine.processes * train.accumulation):
        parts = f"machine.processes x accumulation ({params.machine.processes} x {train.accumulation})"
        raise ValueError(f"train.shards: {train.shards} cannot be shared by {parts}; or set train.exact to false")
    if params.model is None and train.architecture is None:
        raise ValueError("model: null, so train.architecture must say what to build")
    if params.model is None and vocabulary == "base":
        raise ValueError("tokenize.vocabulary: base, but model is null: characters or bpe")
    if params.model is not None and train.architecture is not None:
        raise ValueError("train.architecture: must be null where there is a base model, which has its own")
    if params.model is not None and vocabulary != "base":
        raise ValueError(f"tokenize.vocabulary: {vocabulary}, but a base model knows its own alone: base")
