"""Layers whose weights' gradients are summed by shards and written once to where they stay.

Each has the forward of the stock module; backward, it hands the gradients of its weights to a `GradWriter` and returns
that of its input to autograd, None for its weights. Autograd alone would make a tensor of every gradient, also for the
13,000 words of a table of which a batch uses 300: 15 ms of a step of 400 (MiniLM, 2 cores of Zen 3). Products of rows
take all shards at once where the machine allows it (`MatmulPolicy`): 17 ms less than four shards each for itself.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from bonafide.engine.shards.grad_writer import GradWriter
from bonafide.engine.shards.matmul_policy import MatmulPolicy
from bonafide.engine.shards.shard_context import ShardContext, ShardSizes, tree_sum
from bonafide.project.errors import InputError

Grads = tuple[torch.Tensor | None, ...]

_buffers: dict[tuple[Any, ...], list[torch.Tensor]] = {}  # for the products of shards, by shape


def linear(
    module: nn.Linear | Conv1D, x: torch.Tensor, *, context: ShardContext, writer: GradWriter, policy: MatmulPolicy
) -> torch.Tensor:
    """`module(x)`; x (..., in) has rows of a known kind, as in all of these."""
    inputs_first = isinstance(module, Conv1D)  # of its weight
    return _Linear.apply(x, module.weight, module.bias, inputs_first, context.sizes_of(x), writer, policy)  # type: ignore[no-any-return, no-untyped-call]


def layer_norm(module: nn.LayerNorm, x: torch.Tensor, *, context: ShardContext, writer: GradWriter) -> torch.Tensor:
    """`module(x)`."""
    return _LayerNorm.apply(x, module.weight, module.bias, module.eps, context.sizes_of(x), writer)  # type: ignore[no-any-return, no-untyped-call]


def rms_norm(
    module: nn.Module, x: torch.Tensor, *, eps: float, offset: float, context: ShardContext, writer: GradWriter
) -> torch.Tensor:
    """Return x / sqrt(mean(x^2) + eps) * (weight + offset), in fp32 (Zhang and Sennrich 2019); Gemma's offset is 1."""
    return _RMSNorm.apply(x, module.weight, eps, offset, context.sizes_of(x), writer)  # type: ignore[no-any-return, no-untyped-call]


def embedding(
    context: ShardContext,
    writer: GradWriter,
    ids: torch.Tensor,
    table: nn.Parameter,
    padding_idx: int | None = None,
    *_: Any,
) -> torch.Tensor:
    """`nn.functional.embedding(ids, table, padding_idx)` of a table that is managed."""
    rows = ids[..., None]
    if context.exact and not context.knows(rows):
        raise InputError(f"ids {tuple(ids.shape)} that are looked up have no rows of texts")
    sizes = context.sizes_of(rows) if context.knows(rows) else [ids.numel()]
    return _Embedding.apply(ids, table, padding_idx, sizes, writer)  # type: ignore[no-any-return, no-untyped-call]


def weight_grad(g: torch.Tensor, x: torch.Tensor, sizes: ShardSizes, out: torch.Tensor) -> None:
    """`g.T @ x` of g (n, outputs) and x (n, inputs), summed over shards, into `out`, fp32 (outputs, inputs).

    The shards' products reuse a few buffers, which stay in the cache: 8 shards of 104 rows by 1536 x 384 take 4.0 ms
    instead of 8.1 ms, one shard 3.2 ms.
    """
    spare = _buffers.setdefault((*out.shape, g.dtype, g.device), [])

    def products() -> Iterator[torch.Tensor]:
        targets = chain([out], (spare.pop() if spare else torch.empty_like(out) for _ in sizes[1:]))
        parts = zip(torch.split_with_sizes(g.t(), sizes, dim=1), torch.split_with_sizes(x, sizes), strict=True)
        for target, (left, right) in zip(targets, parts, strict=True):
            in_place = g.dtype == out.dtype
            yield torch.mm(left, right, out=target) if in_place else target.copy_(torch.mm(left, right))

    tree_sum(products(), spare.append)


def bias_grad(g: torch.Tensor, sizes: ShardSizes, out: torch.Tensor) -> None:
    """The sum of g's rows (n, d), over shards, into `out`, fp32 (d,)."""
    out.copy_(tree_sum(part.sum(0, dtype=torch.float32) for part in torch.split_with_sizes(g, sizes)))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - autograd takes no names
        ctx: Any,
        x: torch.Tensor,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        inputs_first: bool,  # noqa: FBT001
        sizes: ShardSizes,
        writer: GradWriter,
        policy: MatmulPolicy,
    ) -> torch.Tensor:
        ctx.weight, ctx.bias, ctx.sizes, ctx.writer, ctx.policy = weight, bias, sizes, writer, policy
        ctx.inputs_first = inputs_first
        matrix: torch.Tensor = weight
        offset: torch.Tensor | None = bias
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, matrix = policy.cast_rows(x, dtype), policy.cast(weight, dtype)
            offset = bias if bias is None else policy.cast(bias, dtype)
        matrix = matrix.t() if inputs_first else matrix
        rows = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(rows, matrix)
        product = torch.mm if offset is None else partial(torch.addmm, offset)
        y = policy.matmul(product, rows, matrix.t(), sizes)
        shaped: torch.Tensor = torch.ops.aten._unsafe_view(y, [*x.shape[:-1], y.shape[-1]])  # noqa: SLF001
        return shaped  # no view of what is made here: RoCBERT writes into it

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Grads:
        rows, matrix = ctx.saved_tensors
        sizes, writer = ctx.sizes, ctx.writer
        g, x_grad = grads[0].reshape(-1, matrix.shape[0]), None
        if ctx.needs_input_grad[1]:
            writer.write_grad(ctx.weight, weight_grad, (rows, g) if ctx.inputs_first else (g, rows), sizes)
        if ctx.needs_input_grad[2]:
            writer.write_grad(ctx.bias, bias_grad, (g,), sizes)
        if ctx.needs_input_grad[0]:
            x_grad = ctx.policy.matmul(torch.mm, g, matrix, sizes).view(*grads[0].shape[:-1], -1)
        return x_grad, *[None] * 6


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        eps: float,
        sizes: ShardSizes,
        writer: GradWriter,
    ) -> torch.Tensor:
        y, *moments = torch.native_layer_norm(x.to(weight.dtype), weight.shape, weight, bias, eps)
        ctx.save_for_backward(x, *moments)
        ctx.weight, ctx.bias, ctx.sizes, ctx.writer = weight, bias, sizes, writer
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Grads:
        per_row, weight, bias = ctx.saved_tensors, ctx.weight, ctx.bias
        flat = [tensor.reshape(-1, tensor.shape[-1]) for tensor in (grads[0], *per_row)]

        def backward(parts: Sequence[torch.Tensor], which: int) -> torch.Tensor:
            """The gradient of x (0) or of the weight (1), of some rows."""
            g, x, mean, scale = parts
            x, mask = x.to(weight.dtype), [which == 0, which == 1, False]
            call = torch.ops.aten.native_layer_norm_backward
            return call(g, x, weight.shape, mean, scale, weight, bias, mask)[which]  # type: ignore[no-any-return]

        def scale_grad(*tensors: Any) -> None:
            *rows, sizes, out = tensors
            shards = zip(*(torch.split_with_sizes(tensor, sizes) for tensor in rows), strict=True)
            out.copy_(tree_sum(backward(shard, 1) for shard in shards))

        if ctx.needs_input_grad[1]:
            ctx.writer.write_grad(weight, scale_grad, flat, ctx.sizes)
        if ctx.needs_input_grad[2]:
            ctx.writer.write_grad(bias, bias_grad, (flat[0],), ctx.sizes)
        x = per_row[0]
        return backward(flat, 0).view_as(x).to(x.dtype), *[None] * 5


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: nn.Parameter,
        eps: float,
        offset: float,
        sizes: ShardSizes,
        writer: GradWriter,
    ) -> torch.Tensor:
        x = x.to(weight.dtype)
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, inverse)
        ctx.weight, ctx.offset, ctx.sizes, ctx.writer = weight, offset, sizes, writer
        scaled: torch.Tensor = (x * inverse).mul_(weight + offset if offset else weight)
        return scaled

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Grads:
        x, inverse = ctx.saved_tensors
        scale = ctx.weight + ctx.offset if ctx.offset else ctx.weight
        unscaled = x * inverse
        product = grads[0] * unscaled
        if ctx.needs_input_grad[1]:
            ctx.writer.write_grad(ctx.weight, bias_grad, (product.flatten(0, -2),), ctx.sizes)
        along = (product * scale).mean(-1, keepdim=True)
        return (grads[0] * scale).addcmul_(unscaled, along, value=-1).mul_(inverse), *[None] * 5


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ids: torch.Tensor, table: nn.Parameter, unlearned: int | None, sizes: ShardSizes, writer: GradWriter
    ) -> torch.Tensor:
        ctx.save_for_backward(ids)
        ctx.table, ctx.unlearned, ctx.sizes, ctx.writer = table, unlearned, sizes, writer
        return torch.embedding(table, ids)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Grads:
        ids, g = ctx.saved_tensors[0].flatten(), grads[0].flatten(0, -2)
        if ctx.unlearned is not None:  # as torch has it, a table's padding_idx
            g = g.masked_fill((ids == ctx.unlearned)[:, None], 0)
        ctx.writer.lookups[ctx.table].append((ids, g, ctx.sizes))
        return None, None, None, None, None
