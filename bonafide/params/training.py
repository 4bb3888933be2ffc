"""The train section of params.yaml for networks that the engine trains."""

from typing import Annotated, Literal

from pydantic import Field

from bonafide.params.pins import typed
from bonafide.params.sections import Fraction, Positive

Decay = Annotated[float, Field(ge=0, lt=1)]


@typed
class Recipe:
    """The train section of the tasks that the engine trains a network for."""

    epochs: Annotated[int, Field(ge=1, le=1000)]
    batch_size: Annotated[int, Field(ge=1, le=65536)]
    """Texts per optimiser step."""
    learning_rate: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    """Peak, reached after the warmup."""
    warmup_ratio: Fraction
    schedule: Literal["linear", "cosine", "constant"]
    """How the learning rate goes on from its peak: down to 0, or not."""
    optimizer: Literal["adamw", "muon"]
    """muon: of the matrices within stacked layers, and adamw of all else."""
    betas: tuple[Decay, Decay]
    """AdamW's decays of the mean gradient and of its square."""
    muon_learning_rate: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    """As learning_rate, of Muon's matrices."""
    weight_decay: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    max_grad_norm: Positive
    dropout: Fraction
    patience: Annotated[int, Field(ge=1)]
    """Epochs without a better primary metric before training stops."""
    trainable: Literal["all", "head", "lora"]
    lora_rank: Annotated[int, Field(ge=1, le=1024)]
    frozen_layers: Annotated[int, Field(ge=0)]
    """Lowest layers that stay as they are, and the embeddings with them."""
    accumulation: Annotated[int, Field(ge=1, le=65536)]
    """Parts of a batch that go through the model one after the other."""
    gradient_checkpointing: bool
    precision: Literal["bf16", "fp32"]
    exact: bool
    shards: Annotated[int, Field(ge=1, le=1024)]
    """Fixed parts of a batch whose sums are added in a fixed order."""
    sharding: Literal["none", "full"]
    """Whether every process holds all weights, gradients and moments, or its rows of them."""

    def __post_init__(self) -> None:
        """Refuse shards that no tree adds up, and sums that cannot be exact."""
        if self.exact and self.sharding == "full":
            raise ValueError("sharding: full sums as it comes; set exact to false")
        if self.optimizer == "muon" and self.sharding == "full":
            raise ValueError("optimizer: muon needs whole matrices; set sharding to none")
        if self.exact and self.shards & (self.shards - 1):
            raise ValueError(f"shards: {self.shards} is not a power of two")
