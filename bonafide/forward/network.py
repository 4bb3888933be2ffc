"""What a task's `train` module has for the engine and for whatever else runs its model over a whole split."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from bonafide.project.arrays import Floats, Ints, Metrics


class Examples(Protocol):
    """One tokenized split."""

    @property
    def ids(self) -> Any:
        """(n,) row ids."""

    @property
    def lengths(self) -> Ints:
        """What each example costs, in tokens, (n,) int64: batches are ordered and cut into shards by it."""

    @property
    def units(self) -> Ints:
        """What the summed loss of each example is over, (n,) int64: labels, target tokens, masked tokens."""

    def __len__(self) -> int:
        """The number of examples."""

    def take(self, rows: Sequence[int] | Ints) -> Self:
        """Examples `rows` alone, in that order."""


class Batch(Protocol):
    """Examples for one forward pass."""

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of the model, without labels."""

    @property
    def row_counts(self) -> Sequence[Sequence[int]]:
        """Of each kind of rows that activations have, how many each example has."""


class Network(Protocol):
    """A module of functions, as a role is."""

    CRITERION: str
    """The validation metric that chooses the best epoch."""

    HIGHER_IS_BETTER: bool
    """Of it."""

    def build(self, params: Any, /) -> Any:
        """The model before its first step, fp32, on the CPU; fresh weights are drawn from torch's generator."""

    def examples(self, folder: Path, /) -> Any:
        """One tokenized split, as Examples."""

    def enable(self, model: Any, /) -> str:
        """Let the model take packed batches, or leave it as it was and return the reason why it cannot."""

    def at_epoch(self, examples: Any, seed: int, epoch: int, /) -> Any:
        """What an epoch trains on, counted from 1: the same, or masked or cut anew; as many examples every time."""

    def collate(self, examples: Any, rows: Ints, model: Any, /) -> Any:
        """A Batch of examples `rows`, which ascend in `lengths`; packed if the model takes that, else padded."""

    def loss(self, outputs: Any, batch: Any, /) -> Any:
        """The sum of each example's losses, nats, (n,) fp32, from the model's outputs on a batch."""

    def outputs(self, model: Any, batch: Any, /) -> Floats:
        """What validation keeps of each example of a batch, (n, k) float64."""

    def validation_metrics(self, examples: Any, outputs: Floats, /) -> Metrics:
        """Metrics of what `outputs` gave for each example, (n, k)."""

    def stock(self, folder: Path, /) -> Any:
        """A trained model as transformers loads it."""
