"""Each gradient is written once to where it stays, not made by autograd and then added to what was zeroed before.

A weight that a pass uses several times, as ALBERT's layers do, is summed over its uses shard by shard, and then over
shards: a process that holds some of them has a subtree of that sum.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from bonafide.engine.step_context import Layout, Sizes, tree_sum
from bonafide.project.errors import InputError


def deliver(
    p: nn.Parameter, layout: Layout, write: Callable[..., object], tensors: Sequence[torch.Tensor], sizes: Sizes
) -> None:
    """Have `write(*tensors, sizes, out)` fill the gradient of `p`, from tensors with shards of `sizes` rows."""

    def parts() -> Iterator[torch.Tensor]:
        shards = zip(*(torch.split_with_sizes(tensor, sizes) for tensor in tensors), strict=True)
        for rows, shard in zip(sizes, shards, strict=True):
            out = torch.zeros_like(p)
            if rows:
                write(*shard, [rows], out)
            yield out

    place(p, layout, partial(write, *tensors, sizes), parts)


def place(
    p: nn.Parameter,
    layout: Layout,
    write: Callable[[torch.Tensor], object],
    parts: Callable[[], Iterator[torch.Tensor]],
) -> None:
    """Have `write` fill the gradient of `p`, or add to it what the pass uses `p` for once more: aside.

    Of a weight that is known to be used several times, all uses are added up shard by shard, from `parts`, before the
    shards are: so it is the same sum wherever they lie. InputError where that comes to light too late.
    """
    if p.grad is None:
        p.grad = torch.zeros_like(p)
        layout.used[id(p)] = torch.empty(0, dtype=torch.int64, device=p.device)
    again = id(p) in layout.written
    layout.written.add(id(p))
    grad = p.grad

    def add() -> None:
        layout.used.pop(id(p), None)
        more = torch.zeros_like(grad)
        write(more)
        grad.add_(more)

    def keep() -> None:
        kept = layout.parts.setdefault(id(p), [])
        for shard, part in enumerate(parts()):
            if shard < len(kept):
                kept[shard].add_(part)
            else:
                kept.append(part)

    if id(p) in layout.shared:
        layout.aside.do(keep)
    elif again and layout.exact and layout.settled:
        raise InputError("a weight is used more often than at the start of training: set train.exact to false")
    else:
        layout.shared |= {id(p)} if again and layout.exact else set()
        layout.aside.do(add if again else partial(write, grad))


@contextmanager
def written(trained: Iterable[nn.Parameter], layout: Layout) -> Iterator[None]:
    """A forward and backward pass, after which every gradient is that of this pass, zero where it did not reach."""
    layout.written.clear()
    trained = [*trained]
    grads = [(id(p), p.grad) for p in trained if p.grad is not None]
    for name, grad in grads:
        if name not in layout.taken:
            grad.zero_()
    layout.parts.clear()
    yield
    layout.clear()
    for p in trained:
        if id(p) in layout.parts and p.grad is not None:
            layout.used.pop(id(p), None)
            p.grad.copy_(tree_sum(layout.parts.pop(id(p))))
    unreached = layout.taken - layout.written
    for name, grad in grads:
        if name in unreached:
            grad.zero_()
            layout.used.pop(name, None)
