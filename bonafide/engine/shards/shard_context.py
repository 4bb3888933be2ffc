"""Shards: fixed parts of a step's batch, whose sums are added in a fixed order wherever they were computed.

Floating-point sums depend on their order, so a gradient that two processes compute differs from that of one. Here every
sum over tokens or texts is taken shard by shard, and the shards' sums are added as a binary tree,
((0 + 1) + (2 + 3)) + ...: a process that holds 1, 2, 4 or all shards computes a subtree of it. Only sums over rows need
this; whatever treats each row by itself runs over the rows of all shards at once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import prod

import torch

ShardSizes = list[int]
"""Rows of each shard, in order."""

RowCounts = Sequence[Sequence[int]]
"""Of each kind of rows, how many each example of a pass has."""


class ShardContext:
    """Which rows of the present pass belong to which shard; one for all modules of a model.

    Rows are those of activations flattened to (rows, d). There are kinds of them: one for each text, for each token of
    a source, for each token of a target, for each one that the loss counts. A kind is known by its number in the pass.
    """

    def __init__(self, *, exact: bool = False) -> None:
        """No pass has begun; `exact`: sums must not depend on where the shards lie."""
        self.exact = exact
        self.shard_sizes: dict[int, ShardSizes] = {}
        """By the number of rows of all shards, the rows of each; empty between passes."""
        self.examples: ShardSizes = []
        """Of each shard."""
        self.rng_key = self.first_shard = 0
        """The step's key of dropout masks, and the number in the step of the pass's first shard."""

    @contextmanager
    def shards(
        self, row_counts: RowCounts, shard_offsets: Sequence[int], rng_key: int, first_shard: int
    ) -> Iterator[None]:
        """A pass over examples, cut at `shard_offsets` of them; outside, modules are stock torch's."""
        self.examples = [end - start for start, end in pairwise(shard_offsets)]
        self.shard_sizes = {sum(sizes): sizes for sizes in rows_by_shard(row_counts, shard_offsets)}
        self.rng_key, self.first_shard = rng_key, first_shard
        try:
            yield
        finally:
            self.shard_sizes = {}

    def sizes_of(self, tensor: torch.Tensor) -> ShardSizes:
        """The shards of a tensor (..., d) with rows of a known kind, or several a row, as heads are, or KeyError."""
        found = self.shard_sizes.get(tensor[..., 0].numel())
        if found is not None:
            return found
        dim = self.row_dim(tensor)
        if dim is None or prod(tensor.shape[:dim]) != 1:
            raise KeyError(tensor[..., 0].numel())
        return [rows * prod(tensor.shape[dim + 1 : -1]) for rows in self.shard_sizes[tensor.shape[dim]]]

    def knows(self, tensor: torch.Tensor) -> bool:
        """Whether `sizes_of` a tensor (..., d) can be told."""
        try:
            return bool(self.sizes_of(tensor))
        except KeyError:
            return False

    def row_dim(self, x: torch.Tensor) -> int | None:
        """The dimension of x in which there are rows of a known kind, of most rows first; None if there is none.

        Not the last one of features. Of several, heads among them, it is the one whose rows lie farthest apart.
        """
        dims = range(x.ndim - (x.is_floating_point() and x.ndim > 1))
        for rows in sorted(self.shard_sizes, reverse=True):
            found = [dim for dim in dims if x.shape[dim] == rows]
            if found:
                return max(found, key=x.stride)
        return None


def rows_by_shard(row_counts: RowCounts, shard_offsets: Sequence[int]) -> list[ShardSizes]:
    """Of each kind of rows, how many each shard has."""
    return [[sum(counts[start:end]) for start, end in pairwise(shard_offsets)] for counts in row_counts]


def are_told_apart(row_counts: RowCounts, shard_offsets: Sequence[int]) -> bool:
    """Whether no two kinds of equally many rows are cut differently, so that a tensor's rows tell its shards."""
    kinds = {tuple(sizes) for sizes in rows_by_shard(row_counts, shard_offsets)}
    return len({sum(sizes) for sizes in kinds}) == len(kinds)


def tree_sum(parts: Iterable[torch.Tensor], done: Callable[[torch.Tensor], None] = lambda _: None) -> torch.Tensor:
    """Add tensors pairwise, in place, holding few at once: ((0 + 1) + (2 + 3)) + ...; `done` gets what is added."""
    stack: list[tuple[int, torch.Tensor]] = []
    for part in parts:
        level = 0
        while stack and stack[-1][0] == level:
            left = stack.pop()[1].add_(part)
            done(part)
            part, level = left, level + 1  # noqa: PLW2901
        stack.append((level, part))
    while len(stack) > 1:  # not a power of two
        part = stack.pop()[1]
        stack[-1] = (0, stack[-1][1].add_(part))
        done(part)
    return stack[0][1]
