"""Forward and backward as CUDA graphs, one for each shape: a step of few tokens is all launches of small kernels.

BERT-base has some 2,000 of them for a batch of 32 short texts, whose products take a millisecond. A graph has the
addresses and numbers of the pass that was recorded, so each batch is copied to where the first one lay, and whatever
depends on the batch must be a tensor of it. That is not believed but held to the ordinary pass, with the second batch
of each shape; where the bits differ, or a recording fails, training goes on without graphs and says so.
"""

import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from bonafide.engine.step_context import Layout
from bonafide.forward.batch import Batch

MOST = 64  # shapes; they share their memory
LOOSE = 1e-2  # of the norm: two ordinary passes may differ too where torch's algorithms need not be deterministic

Pass = Callable[[Batch], torch.Tensor]  # leaves the gradient in its place and returns each text's loss, detached
Words = dict[int, torch.Tensor]


@dataclass
class _Graph:
    """What was recorded: where it reads and where it writes."""

    batch: Batch
    words: Words
    losses: torch.Tensor
    replay: Callable[[], object]
    held: bool = False

    def __call__(self, batch: Batch, words: Words) -> torch.Tensor:
        mine, its = ([*b.parts, *w.values()] for b, w in ((self.batch, self.words), (batch, words)))
        for place, tensor in zip(mine, its, strict=True):
            place.copy_(tensor, non_blocking=True)
        self.replay()
        return self.losses


class Graphs:
    """A pass that is recorded when its shape is first met, held to the ordinary one at the next, and then replayed."""

    def __init__(self, ordinary: Pass, layout: Layout, gradient: torch.Tensor) -> None:
        """`ordinary` leaves its result in `gradient`; `layout` is set before every pass."""
        self.ordinary, self.layout, self.gradient = ordinary, layout, gradient
        self.known: dict[Any, _Graph] = {}
        self.works = True

    def __call__(self, batch: Batch) -> torch.Tensor:
        """As the ordinary pass, in the same bits; the losses stay as they are until the next pass."""
        sizes, words = self.layout.by_rows, self.layout.row_words
        shape = tuple((rows, *shards) for rows, shards in sizes.items())
        if shape in self.known and self.known[shape].held:
            self.layout.clear()
            return self.known[shape](batch, words)
        losses = self._ordinary(batch)
        if shape in self.known:
            self._hold(self.known[shape], batch, words, losses)
        elif self.works and len(self.known) < MOST:
            self.layout.by_rows = sizes
            self._record(shape, batch, words)
        return losses

    def _ordinary(self, batch: Batch) -> torch.Tensor:
        """The ordinary pass; without graphs from then on where they, which keep their memory, leave it too little."""
        sizes = self.layout.by_rows
        with suppress(torch.OutOfMemoryError) if self.known else nullcontext():
            return self.ordinary(batch)
        self._give_up("they leave too little memory")
        self.layout.by_rows = sizes
        return self.ordinary(batch)

    def _record(self, shape: Any, batch: Batch, words: Words) -> None:
        try:
            losses, replay = record(lambda: self.ordinary(batch))
            self.known[shape] = _Graph(batch, words, losses, replay)
        except RuntimeError as error:
            self._give_up((str(error).splitlines() or [type(error).__name__])[0])
        self.layout.clear()

    def _hold(self, graph: _Graph, batch: Batch, words: Words, losses: torch.Tensor) -> None:
        """The gradient stays the ordinary pass's."""
        gradient = self.gradient.clone()
        graph.held = alike(graph(batch, words), losses) and alike(self.gradient, gradient)
        if not graph.held:
            self.gradient.copy_(gradient)
            self._give_up("a replayed pass differs from an ordinary one")

    def _give_up(self, reason: str) -> None:
        self.works = False
        self.known.clear()
        warnings.warn(f"training without CUDA graphs: {reason}", stacklevel=2)


def alike(mine: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether bits are equal; without deterministic algorithms, whether tensors are near each other."""
    if torch.are_deterministic_algorithms_enabled():
        return torch.equal(mine, expected)
    return bool((mine - expected).norm() <= LOOSE * expected.norm())


def record(work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, Callable[[], object]]:
    """Record what `work` launches; what it returns, and a call that launches it again. RuntimeError if it cannot be."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=_pool(), capture_error_mode="thread_local"):  # others may write a checkpoint
        result = work()
    return result, graph.replay


@cache
def _pool() -> Any:
    return torch.cuda.graph_pool_handle()
