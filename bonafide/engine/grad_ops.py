"""Every module that holds weights writes their gradients, summed by shards: kinds that are known, and all others.

Linear, LayerNorm and Embedding are known (`gradients`). Any other module without modules of its own, be it a norm, a
transposed product or a table with an offset, runs once for each shard with a copy of its weights: what autograd finds
for the copies is added up as all is. Whether that is exact is tried out at each start (`settled`).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from bonafide.engine.grad_writer import place
from bonafide.engine.gradients import KNOWN
from bonafide.engine.step_context import Layout, tree_sum
from bonafide.project.errors import InputError

Grads = tuple[torch.Tensor | None, ...]


class _Copies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, p: nn.Parameter, count: int, layout: Layout) -> Any:
        ctx.p, ctx.layout = p, layout
        return tuple(weight.detach() for _ in range(count))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Grads:
        def parts() -> Iterator[torch.Tensor]:
            return (grad.clone() for grad in grads)

        place(ctx.p, ctx.layout, lambda out: out.copy_(tree_sum(parts())), parts)
        return None, None, None, None


def _by_shard(module: nn.Module, stock: Any, layout: Layout, *args: Any, **kwargs: Any) -> Any:
    """What `stock` gives, of each shard's rows with a copy of the weights, whose gradients are added up as all are."""
    given = [*args, *kwargs.values()]
    dims = [layout.dim(x) if isinstance(x, torch.Tensor) else None for x in given]
    along = next((dim for dim in dims if dim is not None), None)
    if along is None and layout.exact:
        raise InputError(f"{type(module).__name__} reads no rows of texts")
    parted = [_part(x, dim, layout) for x, dim in zip(given, dims, strict=True)]
    shards = [tuple(given)] if along is None else [*zip(*parted, strict=True)]
    held = module._parameters  # noqa: SLF001 - torch.func.functional_call would call what we stand in for
    names = [name for name, p in held.items() if p is not None and p.requires_grad]
    copies = [_Copies.apply(held[name], held[name], len(shards), layout) for name in names]  # type: ignore[no-untyped-call]
    outs = []
    for number, shard in enumerate(shards):
        if along is None or layout.texts[number]:
            module._parameters = held | {name: copy[number] for name, copy in zip(names, copies, strict=True)}  # noqa: SLF001
            try:
                outs.append(stock(*shard[: len(args)], **dict(zip(kwargs, shard[len(args) :], strict=True))))
            finally:
                module._parameters = held  # noqa: SLF001
    return outs[0] if along is None else _join(outs, along)


def _part(x: Any, dim: int | None, layout: Layout) -> Sequence[Any]:
    return [x] * len(layout.texts) if dim is None else torch.split_with_sizes(x, layout.by_rows[x.shape[dim]], dim)


def _join(outs: list[Any], dim: int) -> Any:
    if isinstance(outs[0], tuple):
        return tuple(_join([*parts], dim) for parts in zip(*outs, strict=True))
    return torch.cat(outs, dim)


def _stand_in(module: nn.Module, stock: Any, layout: Layout, *args: Any, **kwargs: Any) -> Any:
    """A module's forward while a batch is laid out; what it does not write is left to autograd."""
    if not layout.by_rows or not layout.writes(module):
        return stock(*args, **kwargs)
    known, x = KNOWN.get(type(module)), args[0] if args else next(iter(kwargs.values()))
    if known and (x[..., 0] if x.is_floating_point() else x).numel() in layout.by_rows:
        return known(module, layout, x)
    return _by_shard(module, stock, layout, *args, **kwargs)


def take_over(model: nn.Module, layout: Layout) -> list[str]:
    """Have every module that holds weights write its gradients; the names of those with trained weights that cannot.

    Kinds that are not known, which cost more, only where sums must be exact. A module of modules, and weights, may
    mix rows before it hands them on.
    """
    others = []
    for name, module in model.named_modules():
        trained = [p for p in module.parameters(recurse=False) if p.requires_grad]
        alone = layout.exact and not any(True for _ in module.children())
        if type(module) in KNOWN or (trained and alone):
            module.forward = partial(_stand_in, module, module.forward, layout)
            for p in trained:
                layout.taken.add(id(p))
                if type(module) not in KNOWN:
                    layout.copied.add(id(p))
                p.register_hook(partial(_refuse, f"{name} ({type(module).__name__})", id(p), layout))
        elif trained:
            others.append(f"{name} ({type(module).__name__})")
    return others


def _refuse(name: str, p: int, layout: Layout, grad: torch.Tensor | None) -> None:
    """Autograd has a gradient only for a weight that is used past its module's `forward`, which would overwrite it."""
    if grad is not None and layout.by_rows and p in layout.taken:
        raise InputError(f"{name} is used outside of its own forward: this architecture cannot be trained packed")
