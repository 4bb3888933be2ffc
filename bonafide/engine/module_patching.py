"""Replaces the forward of every module that holds trained weights by one whose backward writes their gradients.

Linear, LayerNorm and Embedding have an implementation of their own (`layer_gradients`). Any other module without
submodules, be it a norm, a transposed product or a table with an offset, runs once for each shard with a copy of its
weights: what autograd finds for the copies is summed over shards as all gradients are. Whether that is exact is tried
out at each start (`shard_bit_identity`).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from bonafide.engine import layer_gradients
from bonafide.engine.grad_writer import GradWriter
from bonafide.engine.layer_gradients import Grads
from bonafide.engine.matmul_policy import MatmulPolicy
from bonafide.engine.shard_context import ShardContext, tree_sum
from bonafide.project.errors import InputError

Forward = Callable[..., Any]


def install_grad_ops(model: nn.Module, context: ShardContext, writer: GradWriter, policy: MatmulPolicy) -> list[str]:
    """Have every module that holds weights write their gradients; return the names of those that cannot.

    Kinds without an implementation of their own, which cost more, only where sums must be exact. A module that has
    submodules and trained weights beside them may mix rows, and cannot.
    """
    known: dict[type[nn.Module], Forward] = {
        nn.Linear: partial(layer_gradients.linear, context=context, writer=writer, policy=policy),
        nn.LayerNorm: partial(layer_gradients.layer_norm, context=context, writer=writer),
        nn.Embedding: partial(layer_gradients.embedding, context=context, writer=writer),
    }
    others = []
    for name, module in model.named_modules():
        trained = [p for p in module.parameters(recurse=False) if p.requires_grad]
        alone = context.exact and not any(True for _ in module.children())
        if type(module) in known or (trained and alone):
            module.forward = partial(_forward, module, module.forward, known.get(type(module)), context, writer)
            writer.managed |= {*trained}
            writer.copied |= {*trained} if type(module) not in known else set()
            for p in trained:
                p.register_hook(partial(_refuse, f"{name} ({type(module).__name__})", p, context, writer))
        elif trained:
            others.append(f"{name} ({type(module).__name__})")
    return others


def _forward(
    module: nn.Module,
    stock: Forward,
    known: Forward | None,
    context: ShardContext,
    writer: GradWriter,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """A module's forward during a pass; outside of one, and of weights that are not managed, the stock one."""
    if not context.shard_sizes or not writer.manages(module):
        return stock(*args, **kwargs)
    x = args[0] if args else next(iter(kwargs.values()))
    if known and (x[..., 0] if x.is_floating_point() else x).numel() in context.shard_sizes:
        return known(module, x)
    return _forward_by_shard(module, stock, context, writer, *args, **kwargs)


class _Copies(torch.autograd.Function):
    """A copy of a weight for each shard, whose gradients are summed over shards."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, p: nn.Parameter, count: int, writer: GradWriter) -> Any:
        ctx.p, ctx.writer = p, writer
        return tuple(weight.detach() for _ in range(count))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Grads:
        def each_shard() -> Iterator[torch.Tensor]:
            return (grad.clone() for grad in grads)

        ctx.writer.write(ctx.p, lambda out: out.copy_(tree_sum(each_shard())), each_shard)
        return None, None, None, None


def _forward_by_shard(
    module: nn.Module, stock: Forward, context: ShardContext, writer: GradWriter, *args: Any, **kwargs: Any
) -> Any:
    """What `stock` gives, of each shard's rows with a copy of the weights."""
    given = [*args, *kwargs.values()]
    dims = [context.row_dim(x) if isinstance(x, torch.Tensor) else None for x in given]
    dim = next((dim for dim in dims if dim is not None), None)
    if dim is None and context.exact:
        raise InputError(f"{type(module).__name__} reads no rows of texts")
    split = [_split(x, dim, context) for x, dim in zip(given, dims, strict=True)]
    shards = [tuple(given)] if dim is None else [*zip(*split, strict=True)]
    held = module._parameters  # noqa: SLF001 - torch.func.functional_call would call our forward again
    names = [name for name, p in held.items() if p is not None and p.requires_grad]
    copies = [_Copies.apply(held[name], held[name], len(shards), writer) for name in names]  # type: ignore[no-untyped-call]
    outs = []
    for number, shard in enumerate(shards):
        if dim is None or context.examples[number]:
            module._parameters = held | {name: copy[number] for name, copy in zip(names, copies, strict=True)}  # noqa: SLF001
            try:
                outs.append(stock(*shard[: len(args)], **dict(zip(kwargs, shard[len(args) :], strict=True))))
            finally:
                module._parameters = held  # noqa: SLF001
    return outs[0] if dim is None else _join(outs, dim)


def _split(x: Any, dim: int | None, context: ShardContext) -> Sequence[Any]:
    """An argument for each shard: its rows, or all of one that has no rows."""
    return [x] * len(context.examples) if dim is None else x.split_with_sizes(context.shard_sizes[x.shape[dim]], dim)


def _join(outs: list[Any], dim: int) -> Any:
    if isinstance(outs[0], tuple):
        return tuple(_join([*parts], dim) for parts in zip(*outs, strict=True))
    return torch.cat(outs, dim)


def _refuse(name: str, p: nn.Parameter, context: ShardContext, writer: GradWriter, grad: torch.Tensor | None) -> None:
    """Autograd has a gradient only for a weight that is used past its module's `forward`, and would overwrite ours."""
    if grad is not None and context.shard_sizes and p in writer.managed:
        raise InputError(f"{name} is used outside of its own forward: this architecture cannot be trained packed")
