"""Replaces the forward of every module that holds trained weights by one whose backward writes their gradients.

Linear layers, norms and tables have implementations of their own (`layer_gradients`); what is an RMS norm is tried out,
whatever its name. Any other module without submodules runs once for each shard with a copy of its
weights: what autograd finds for the copies is summed over shards as all gradients are. Whether that is exact is tried
out at each start (`shard_bit_identity`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from bonafide.engine.shards import layer_gradients
from bonafide.engine.shards.grad_writer import GradWriter
from bonafide.engine.shards.layer_gradients import Grads
from bonafide.engine.shards.matmul_policy import MatmulPolicy
from bonafide.engine.shards.shard_context import ShardContext, tree_sum
from bonafide.pretrained.padding import MISFITS
from bonafide.project.errors import InputError

Forward = Callable[..., Any]


def install_grad_ops(model: nn.Module, context: ShardContext, writer: GradWriter, policy: MatmulPolicy) -> list[str]:
    """Have every module that holds weights write their gradients; return the names of those that cannot.

    Kinds without an implementation of their own, which cost more, only where sums must be exact. A module that has
    submodules and trained weights beside them, of which none of these is written by another, may mix rows, and cannot.
    """
    named = {f"{name} ({type(module).__name__})": module for name, module in model.named_modules()}
    for name, module in named.items():
        trained, is_table = _trained(module), isinstance(module, nn.Embedding)
        known = None if is_table else _implementation(module, context, writer, policy)
        if is_table or known or (trained and context.exact and not any(True for _ in module.children())):
            patched = partial(_look_up, module) if is_table else partial(_forward, module, known)
            module.forward = partial(patched, module.forward, context, writer)
            writer.managed |= trained
            writer.copied |= set() if known or is_table else trained
            writer.lookups |= {p: [] for p in trained if is_table}
            for p in trained:
                p.register_hook(partial(_refuse, name, p, context, writer))  # type: ignore[no-untyped-call]
    return [name for name, module in named.items() if not _trained(module) <= writer.managed]


def find_tied(model: nn.Module, writer: GradWriter) -> list[nn.Parameter]:
    """Tables that other modules use too."""
    others = [m for m in model.modules() if not isinstance(m, nn.Embedding)]
    held = {p for m in others for p in m.parameters(recurse=False)}
    return [p for p in writer.lookups if p in held]


def _trained(module: nn.Module) -> set[nn.Parameter]:
    return {p for p in module.parameters(recurse=False) if p.requires_grad}


def _implementation(
    module: nn.Module, context: ShardContext, writer: GradWriter, policy: MatmulPolicy
) -> Forward | None:
    """A forward that writes gradients, of the kinds there are; of others None."""
    if "forward" in vars(module):  # another's replacement
        return None
    stock = type(module).forward
    if stock in (nn.Linear.forward, Conv1D.forward):
        return partial(layer_gradients.linear, context=context, writer=writer, policy=policy)
    if stock is nn.LayerNorm.forward:
        return partial(layer_gradients.layer_norm, context=context, writer=writer)
    eps, offset = _find_rms_norm(module)
    return partial(layer_gradients.rms_norm, eps=eps, offset=offset, context=context, writer=writer) if eps else None


@torch.no_grad()
def _find_rms_norm(module: nn.Module) -> tuple[float, float]:
    """`eps` and `offset` of a module that is `layer_gradients.rms_norm` of its one vector of weights; (0, 0) if not."""
    weights = [*module.parameters()]
    if len(weights) != 1 or weights[0].ndim != 1 or not hasattr(module, "weight"):
        return 0.0, 0.0
    rng = torch.Generator().manual_seed(0)
    x = (1e-3 * torch.randn(2, len(weights[0]), generator=rng)).to(weights[0].device)  # so small that eps is seen
    with suppress(*MISFITS):
        found = module(x)
        for eps, offset in product(_numbers(module), (0.0, 1.0)):
            expected = x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * (weights[0] + offset)
            if found.shape == x.shape and torch.allclose(found, expected, rtol=1e-5):
                return eps, offset
    return 0.0, 0.0


def _numbers(module: nn.Module) -> list[float]:
    """What numbers a module holds."""
    held = [*vars(module).values(), *(b.item() for b in module.buffers(recurse=False) if b.numel() == 1)]
    return [value for value in held if isinstance(value, float)]


def _forward(
    module: nn.Module,
    known: Forward | None,
    stock: Forward,
    context: ShardContext,
    writer: GradWriter,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """A module's forward during a pass; outside of one, and of weights that are not managed, the stock one."""
    if not context.shard_sizes or not writer.manages(module):
        return stock(*args, **kwargs)
    x = args[0] if args else next(iter(kwargs.values()))
    if known and context.knows(x):
        return known(module, x)
    return _forward_by_shard(module, stock, context, writer, *args, **kwargs)


def _look_up(
    module: nn.Embedding, stock: Forward, context: ShardContext, writer: GradWriter, *args: Any, **kwargs: Any
) -> Any:
    """As `_forward` of a table, whatever it does to ids before it looks them up, and to the rows afterwards."""
    if not context.shard_sizes or not writer.manages(module):
        return stock(*args, **kwargs)
    torchs, nn.functional.embedding = nn.functional.embedding, partial(layer_gradients.embedding, context, writer)
    try:
        return stock(*args, **kwargs)
    finally:
        nn.functional.embedding = torchs


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
