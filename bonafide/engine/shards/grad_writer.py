"""Where summed gradients are written (`p.grad`), without autograd; the sums themselves are layer_gradients.

Autograd would make a new tensor of every gradient, and add it to a `p.grad` that was filled with zeros before. Here the
backward of a module (`layer_gradients`, `module_patching`) writes the sum over shards right to where it stays: `p.grad`
is a view of the optimizer's buffer. A weight that a pass uses several times, as ALBERT's layers do, is summed over its
uses within each shard first and then over shards, so that a process that holds some shards has a subtree of that sum.

Lookups in a table reach few of its rows. They are kept to the end of a pass, and then summed together in the same way.
Where another layer has the same weight, as tied output layers do, that sum has a place of its own in the optimizer's
buffer until the processes' sums are there: both are sums over all shards, and then they are added.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from bonafide.engine.shards.grad_overlap import GradOverlap
from bonafide.engine.shards.shard_context import ShardContext, ShardSizes, tree_sum
from bonafide.project.errors import InputError

Lookup = tuple[torch.Tensor, torch.Tensor, ShardSizes]
"""Ids (n,), the gradients (n, d) of the rows that were found by them, and how many are each shard's."""


class GradWriter:
    """Writes the gradients of a model's weights, and knows which are there; one for all modules of a model."""

    def __init__(self, context: ShardContext, overlap: GradOverlap) -> None:
        """Gradients are computed where `overlap` does work."""
        self.context, self.overlap = context, overlap
        self.managed: set[nn.Parameter] = set()
        """Weights whose modules write the gradient; autograd keeps those of all others."""
        self.copied: set[nn.Parameter] = set()
        """Of these, those of modules that run once a shard, with a copy of the weight for each."""
        self.shared: set[nn.Parameter] = set()
        """Weights that a pass uses several times, as far as passes have shown."""
        self.is_settled = False
        """Whether `shared` is complete: from then on another one is an error."""
        self.has_grad: set[nn.Parameter] = set()
        """Weights whose gradient of the present pass is written, or submitted."""
        self.shard_grads: dict[nn.Parameter, list[torch.Tensor]] = {}
        """Of each shared weight, the sum of its uses so far in each shard."""
        self.lookups: dict[nn.Parameter, list[Lookup]] = {}
        """Of the present pass, by table: of all tables that modules look up in."""
        self.lookup_grads: dict[nn.Parameter, torch.Tensor] = {}
        """Where the sum of a table's lookups is written that other modules use too; that of others is in `p.grad`."""
        self.nonzero_rows: dict[nn.Parameter, torch.Tensor] = {}
        """Of a table, the rows of its lookups' sum that may be other than zero; all may be where it lacks."""

    def manages(self, module: nn.Module) -> bool:
        """Whether a module's own trained weights, if it has some, are all managed."""
        return all(p is None or not p.requires_grad or p in self.managed for p in module._parameters.values())  # noqa: SLF001

    def leave(self, weights: set[nn.Parameter]) -> None:
        """Leave the gradients of `weights` to autograd."""
        self.managed -= weights
        for p in weights & self.lookups.keys():
            del self.lookups[p]
        for p in weights & self.lookup_grads.keys():
            self.lookup_grads.pop(p).zero_()

    def write_grad(
        self, p: nn.Parameter, grad_of: Callable[..., object], tensors: Sequence[torch.Tensor], sizes: ShardSizes
    ) -> None:
        """Have `grad_of(*tensors, sizes, out)` fill the gradient of `p`, from tensors with shards of `sizes` rows."""
        self.write(p, partial(grad_of, *tensors, sizes), lambda: self.each_shard(p, grad_of, tensors, sizes))

    @staticmethod
    def each_shard(
        p: nn.Parameter, grad_of: Callable[..., object], tensors: Sequence[torch.Tensor], sizes: ShardSizes
    ) -> Iterator[torch.Tensor]:
        """The gradient that each shard has by itself, zeros where it has no rows."""
        shards = zip(*(torch.split_with_sizes(tensor, sizes) for tensor in tensors), strict=True)
        for rows, shard in zip(sizes, shards, strict=True):
            out = torch.zeros_like(p)
            if rows:
                grad_of(*shard, [rows], out)
            yield out

    def write(
        self,
        p: nn.Parameter,
        fill: Callable[[torch.Tensor], object],
        each_shard: Callable[[], Iterable[torch.Tensor]],
    ) -> None:
        """Have `fill` overwrite a tensor with the gradient of one use of `p`; of a shared weight, add up `each_shard`.

        InputError where sums must be exact and a second use comes to light too late.
        """
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        again, grad = p in self.has_grad, p.grad
        self.has_grad.add(p)
        if p in self.shared:
            self.overlap.submit(lambda: self._add_each(p, each_shard()))
        elif not again:
            self.overlap.submit(lambda: fill(grad))
        elif self.context.exact and self.is_settled:
            raise InputError("a weight is used more often than at the start of training: set train.exact to false")
        else:
            self.shared |= {p} if self.context.exact else set()
            self.overlap.submit(lambda: self._add(grad, fill))

    def _add_each(self, p: nn.Parameter, grads: Iterable[torch.Tensor]) -> None:
        sums = self.shard_grads.setdefault(p, [])
        for shard, grad in enumerate(grads):
            if shard < len(sums):
                sums[shard].add_(grad)
            else:
                sums.append(grad)

    @staticmethod
    def _add(grad: torch.Tensor, fill: Callable[[torch.Tensor], object]) -> None:
        more = torch.zeros_like(grad)
        fill(more)
        grad.add_(more)

    def sum_lookups(self) -> None:
        """Write the sums of the pass's lookups, over only the rows that they, or those of the pass before, have."""
        for p, lookups in self.lookups.items():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            out, before = self.lookup_grads.get(p, p.grad), self.nonzero_rows.get(p)
            out.zero_() if before is None else out.index_fill_(0, before, 0)
            used, total = sum_rows(lookups) if lookups else (out.new_empty(0, dtype=torch.int64), out[:0])
            self.nonzero_rows[p] = used
            out.index_copy_(0, used, total)

    def add_lookups(self) -> None:
        """Add the sums of lookups that have a place of their own to the gradients of their tables."""
        for p, total in self.lookup_grads.items():
            rows, grad = self.nonzero_rows.get(p), p.grad
            assert grad is not None  # noqa: S101 - a view of the optimizer's
            grad.add_(total) if rows is None else grad.index_add_(0, rows, total[rows])

    @contextmanager
    def one_pass(self, trained: Iterable[nn.Parameter]) -> Iterator[None]:
        """A forward and backward pass, after which every gradient is that of this pass, zero where it did not reach."""
        grads = [(p, p.grad) for p in trained if p.grad is not None]
        self.has_grad.clear()
        self.shard_grads.clear()
        for lookups in self.lookups.values():
            lookups.clear()
        for p, grad in grads:
            if p not in self.managed:
                grad.zero_()
        yield
        self.sum_lookups()
        for p, sums in self.shard_grads.items():
            p.grad = tree_sum(sums) if p.grad is None else p.grad.copy_(tree_sum(sums))
        self.shard_grads.clear()
        for p, grad in grads:
            if p in self.managed and p not in self.has_grad and (p not in self.lookups or p in self.lookup_grads):
                grad.zero_()


def sum_rows(lookups: Sequence[Lookup]) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows that lookups use, ascending, and the sums (rows, d) of their gradients, within shards and over them."""
    used: torch.Tensor
    used, at = torch.unique(torch.cat([ids for ids, *_ in lookups]), return_inverse=True)
    places = torch.split_with_sizes(at, [len(ids) for ids, *_ in lookups])
    parts = [
        zip(*(torch.split_with_sizes(x, sizes) for x in (place, g)), strict=True)
        for place, (_, g, sizes) in zip(places, lookups, strict=True)
    ]

    def each_shard() -> Iterator[torch.Tensor]:
        for uses in zip(*parts, strict=True):
            total = lookups[0][1].new_zeros(len(used), lookups[0][1].shape[-1])
            for use in uses:
                total.index_add_(0, *use)
            yield total

    return used, tree_sum(each_shard())
