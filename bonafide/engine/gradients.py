"""Linear, LayerNorm and Embedding with gradients summed by shards, each written once to where it stays.

Autograd makes a tensor of every gradient and adds it to what it has zeroed before, also for the 13,000 words of a table
of which a batch uses 300: 15 ms of a step of 400 (MiniLM, 2 cores of Zen 3). What treats rows one by one takes all
shards at once where the machine's products allow it (`row_products`): 17 ms less than four shards each for itself.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import nn

from bonafide.engine.batch_invariance import by_rows
from bonafide.engine.grad_writer import deliver, place
from bonafide.engine.step_context import Layout, Sizes, tree_sum

Grads = tuple[torch.Tensor | None, ...]

_scratch: dict[tuple[Any, ...], list[torch.Tensor]] = {}


def sum_rows(g: torch.Tensor, sizes: Sizes, out: torch.Tensor) -> None:
    """The sum of g's rows (n, d), over shards, into `out`, fp32 (d,)."""
    out.copy_(tree_sum(part.sum(0, dtype=torch.float32) for part in torch.split_with_sizes(g, sizes)))


def sum_products(g: torch.Tensor, rows: torch.Tensor, sizes: Sizes, out: torch.Tensor) -> None:
    """Transposed g times rows, summed over shards, into `out`, fp32 (g's width, rows' width).

    Partial products reuse a few buffers, which stay in the cache: 8 shards of 104 rows by 1536 x 384 take 4.0 ms
    instead of 8.1 ms, one shard 3.2 ms.
    """
    spare = _scratch.setdefault((*out.shape, g.dtype, g.device), [])

    def products() -> Iterator[torch.Tensor]:
        targets = chain([out], (spare.pop() if spare else torch.empty_like(out) for _ in sizes[1:]))
        parts = zip(torch.split_with_sizes(g.t(), sizes, dim=1), torch.split_with_sizes(rows, sizes), strict=True)
        for target, (left, right) in zip(targets, parts, strict=True):
            alike = g.dtype == out.dtype
            yield torch.mm(left, right, out=target) if alike else target.copy_(torch.mm(left, right))

    tree_sum(products(), spare.append)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, module: nn.Linear, layout: Layout
    ) -> torch.Tensor:
        ctx.module, ctx.layout, ctx.sizes = module, layout, layout.sizes(x)
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), layout.lowered.get(id(module.weight), weight).to(dtype)
            bias = bias if bias is None else layout.lowered.get(id(module.bias), bias).to(dtype)
        rows = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(rows, weight)
        product = torch.mm if bias is None else partial(torch.addmm, bias)
        y = by_rows(product, rows, weight.t(), ctx.sizes, layout.least_rows)
        shaped: torch.Tensor = torch.ops.aten._unsafe_view(y, [*x.shape[:-1], y.shape[-1]])  # noqa: SLF001
        return shaped  # no view of what is made here: RoCBERT writes into it

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Grads:
        rows, weight = ctx.saved_tensors
        module, layout, sizes = ctx.module, ctx.layout, ctx.sizes
        g, x_grad = grads[0].reshape(-1, weight.shape[0]), None
        if ctx.needs_input_grad[1]:
            deliver(module.weight, layout, sum_products, (g, rows), sizes)
        if ctx.needs_input_grad[2]:
            deliver(module.bias, layout, sum_rows, (g,), sizes)
        if ctx.needs_input_grad[0]:
            x_grad = by_rows(torch.mm, g, weight, sizes, layout.least_rows).view(*grads[0].shape[:-1], -1)
        return x_grad, None, None, None, None


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, module: nn.LayerNorm, layout: Layout
    ) -> torch.Tensor:
        y, *moments = torch.native_layer_norm(x.to(weight.dtype), weight.shape, weight, bias, module.eps)
        ctx.save_for_backward(x, *moments, weight, bias)
        ctx.module, ctx.layout, ctx.sizes = module, layout, layout.sizes(x)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Grads:
        *rowed, weight, bias = ctx.saved_tensors
        module, layout = ctx.module, ctx.layout
        flat = [tensor.reshape(-1, tensor.shape[-1]) for tensor in (grads[0], *rowed)]

        def backward(parts: Sequence[torch.Tensor], at: int) -> torch.Tensor:
            """The gradient of x (0) or of the weight (1), of some rows."""
            g, x, mean, scale = parts
            x, mask = x.to(weight.dtype), [at == 0, at == 1, False]
            call = torch.ops.aten.native_layer_norm_backward
            return call(g, x, weight.shape, mean, scale, weight, bias, mask)[at]  # type: ignore[no-any-return]

        def write(*tensors: Any) -> None:
            *rows, sizes, out = tensors
            shards = zip(*(torch.split_with_sizes(tensor, sizes) for tensor in rows), strict=True)
            out.copy_(tree_sum(backward(shard, 1) for shard in shards))

        if ctx.needs_input_grad[1]:
            deliver(module.weight, layout, write, flat, ctx.sizes)
        if ctx.needs_input_grad[2]:
            deliver(module.bias, layout, sum_rows, (flat[0],), ctx.sizes)
        return backward(flat, 0).view_as(rowed[0]).to(rowed[0].dtype), None, None, None, None


def sum_by_id(ids: torch.Tensor, g: torch.Tensor, sizes: Sizes, out: torch.Tensor) -> None:
    """Sums of g's rows (n, d) by their ids (n,), over shards, into all of `out` (table's rows, d); nothing waits.

    What `unique` gives is as long as only the device knows, so that the host would wait. Here a table of n + 1 rows has
    place for all ids, at their first place in order; its last one stays zero, and is what other rows of `out` get.
    Gathering is deterministic; adding up what is scattered is so at the price of one thread for all [CLS] of a batch.
    """
    rows, at, place = len(out), ids, None
    if len(ids) < len(out):
        used, every = ids.sort().values, torch.arange(len(out), device=ids.device)
        at, place, rows = torch.searchsorted(used, ids), torch.searchsorted(used, every), len(ids) + 1
        place = torch.where(used[place.clamp(max=len(ids) - 1)] == every, place, len(ids))
    shards = zip(torch.split(g, sizes), torch.split(at, sizes), strict=True)
    sums = torch.ops.aten.embedding_dense_backward
    total = tree_sum(sums(part, its, rows, -1, False) for part, its in shards)  # noqa: FBT003 - no padding, no mean
    out.copy_(total) if place is None else torch.index_select(total, 0, place, out=out)


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ids: torch.Tensor, weight: torch.Tensor, module: nn.Embedding, layout: Layout
    ) -> torch.Tensor:
        ctx.save_for_backward(ids)
        ctx.module, ctx.layout, ctx.sizes = module, layout, layout.sizes(ids[..., None])
        return nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Grads:
        table, layout = ctx.module.weight, ctx.layout
        ids, g = ctx.saved_tensors[0].flatten(), grads[0].flatten(0, -2)
        if layout.queued or id(table) in layout.shared:
            deliver(table, layout, sum_by_id, (ids, g), ctx.sizes)
            return None, None, None, None

        def write(out: torch.Tensor) -> None:
            used, at = ids.unique(return_inverse=True)
            shards = zip(torch.split_with_sizes(at, ctx.sizes), torch.split_with_sizes(g, ctx.sizes), strict=True)
            total = tree_sum(g.new_zeros(len(used), g.shape[-1]).index_add_(0, rows, part) for rows, part in shards)
            before = layout.used.get(id(table))
            out.zero_() if before is None else out.index_fill_(0, before, 0)
            out.index_copy_(0, used, total)
            layout.used[id(table)] = used

        place(table, layout, write, lambda: iter(()))  # not known to be used twice
        return None, None, None, None


def _linear(module: nn.Linear, layout: Layout, x: torch.Tensor) -> torch.Tensor:
    return _Linear.apply(x, module.weight, module.bias, module, layout)  # type: ignore[no-any-return, no-untyped-call]


def _layer_norm(module: nn.LayerNorm, layout: Layout, x: torch.Tensor) -> torch.Tensor:
    return _LayerNorm.apply(x, module.weight, module.bias, module, layout)  # type: ignore[no-any-return, no-untyped-call]


def _embedding(module: nn.Embedding, layout: Layout, ids: torch.Tensor) -> torch.Tensor:
    return _Embedding.apply(ids, module.weight, module, layout)  # type: ignore[no-any-return, no-untyped-call]


KNOWN: dict[type[nn.Module], Any] = {nn.Linear: _linear, nn.LayerNorm: _layer_norm, nn.Embedding: _embedding}
