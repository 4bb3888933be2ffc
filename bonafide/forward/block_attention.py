"""Attention within short texts on the CPU: texts of like length in one block, padded to the next multiple of eight.

A few batched products replace a kernel call for every length: 4.0 ms instead of 8.5 for a layer's forward and backward
over 32 texts of 26 tokens (MiniLM, 2 cores of Zen 3). From some hundred tokens on the kernel is as fast, and need not
keep the probabilities. What a text is padded to depends on its own length alone. So do its bits, where this machine's
batched products allow it, which is tried out once (`is_batch_invariant`); elsewhere torch's attention is taken.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch

SHORT, STEP = 96, 8  # tokens: at 96 a layer takes 10 ms instead of 14, at 128 12 instead of 16, at 256 as long


class Blocks:
    """Where texts of ascending lengths lie by text, head and position, each padded to a multiple of `STEP`."""

    def __init__(self, lengths: Sequence[int], heads: int, *, causal: bool = False) -> None:
        """Lay out texts that lie end to end as (tokens, heads, d); `causal`: no token sees those after it."""
        real = np.asarray(lengths, dtype=np.int64)
        padded = -(-real // STEP) * STEP
        self.heads = heads
        widths = np.repeat(padded, heads)  # of each (text, head)
        at = np.arange(widths.sum()) - np.repeat(np.cumsum(widths) - widths, widths)
        length, first = (np.repeat(a, heads * padded) for a in (real, np.cumsum(real) - real))
        head = np.repeat(np.tile(np.arange(heads), len(real)), widths)
        source = (first + np.minimum(at, length - 1)) * heads + head
        inside = at < length
        inverse = np.empty(heads * real.sum(), dtype=np.int64)
        inverse[source[inside]] = np.flatnonzero(inside)
        self.source, self.inverse, self.padding = map(torch.from_numpy, (source, inverse, np.flatnonzero(~inside)))
        values, counts = np.unique(padded, return_counts=True)
        self.shapes = [(count * heads, width) for count, width in zip(counts.tolist(), values.tolist(), strict=True)]
        self.rows, self.firsts = [n * width for n, width in self.shapes], [n for n, _ in self.shapes]
        parts = np.split(real, np.cumsum(counts)[:-1])
        mask = self._causal_mask if causal else self._padding_mask
        self.masks = [mask(part, width) for part, (_, width) in zip(parts, self.shapes, strict=True)]

    def _padding_mask(self, lengths: np.ndarray[Any, Any], width: int) -> torch.Tensor:
        """(texts x heads, 1, width): 0 for a token, -inf for padding."""
        mask = np.where(np.arange(width) < lengths[:, None], np.float32(0), np.float32("-inf"))
        return torch.from_numpy(np.repeat(mask, self.heads, axis=0)[:, None])

    @staticmethod
    def _causal_mask(_lengths: np.ndarray[Any, Any], width: int) -> torch.Tensor:
        """(1, width, width): 0 for what a token sees, -inf for what comes after it, as all padding does."""
        return torch.full((1, width, width), -torch.inf).triu_(1)

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """(tokens, heads, d) to (rows, d), block after block; padding repeats a text's last token."""
        return x.reshape(-1, x.shape[-1]).index_select(0, self.source)

    def scatter(self, x: torch.Tensor) -> torch.Tensor:
        """What `gather` took apart, without the padding."""
        return x.index_select(0, self.inverse).view(-1, self.heads, x.shape[-1])

    def views(self, *tensors: torch.Tensor) -> Iterator[list[torch.Tensor]]:
        """Each block's part (texts x heads, width, d) of every tensor; of first tokens alone (texts x heads, 1, d)."""
        total = sum(self.rows)
        split = (torch.split_with_sizes(x, self.rows if x.shape[0] == total else self.firsts) for x in tensors)
        for n, *parts in zip(self.firsts, *split, strict=True):
            yield [part.view(n, -1, part.shape[-1]) for part in parts]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, blocks: Blocks, scale: float
    ) -> torch.Tensor:
        ctx.whole = query.shape[0] == key.shape[0]  # or first tokens alone
        k, v = blocks.gather(key), blocks.gather(value)
        q = blocks.gather(query) if ctx.whole else query.reshape(-1, query.shape[-1])
        out, weights = torch.empty_like(q), []
        for mask, (q_block, k_block, v_block, out_block) in zip(blocks.masks, blocks.views(q, k, v, out), strict=True):
            weight = torch.baddbmm(mask, q_block, k_block.transpose(1, 2), alpha=scale).softmax(-1)
            torch.bmm(weight, v_block, out=out_block)
            weights.append(weight)
        ctx.blocks, ctx.scale = blocks, scale
        ctx.save_for_backward(q, k, v, *weights)
        return blocks.scatter(out) if ctx.whole else out.view_as(query)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        blocks, (q, k, v, *weights) = ctx.blocks, ctx.saved_tensors
        g = grads[0].reshape(-1, q.shape[-1])
        if ctx.whole:
            g = blocks.gather(grads[0]).index_fill_(0, blocks.padding, 0)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        views = blocks.views(q, k, v, g, dq, dk, dv)
        for weight, (q_block, k_block, v_block, g_block, dq_block, dk_block, dv_block) in zip(
            weights, views, strict=True
        ):
            torch.bmm(weight.transpose(1, 2), g_block, out=dv_block)
            d_weight = torch.bmm(g_block, v_block.transpose(1, 2))
            d_score = torch._softmax_backward_data(d_weight, weight, -1, weight.dtype).mul_(ctx.scale)  # noqa: SLF001
            torch.bmm(d_score, k_block, out=dq_block)
            torch.bmm(d_score.transpose(1, 2), q_block, out=dk_block)
        query = blocks.scatter(dq) if ctx.whole else dq.view_as(grads[0])
        return query, blocks.scatter(dk), blocks.scatter(dv), None, None


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, blocks: Blocks, scale: float | None
) -> torch.Tensor:
    """Softmax attention of query (tokens or texts, heads, d) on key and value (tokens, heads, d) within each text.

    Computed in fp32; `scale` None is 1 / sqrt(d). Returns the query's shape and dtype.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    with torch.autocast("cpu", enabled=False):
        out = _Attention.apply(query.float(), key.float(), value.float(), blocks, scale)  # type: ignore[no-untyped-call]
    return out.to(query.dtype)  # type: ignore[no-any-return]


@cache
def is_batch_invariant(heads: int, width: int) -> bool:
    """Whether a text's bits, forward and backward, are the same among all texts and among a part of them.

    With all threads and with half of them, as `GradOverlap` leaves to backward. The same at every start on one machine;
    some 60 ms with 12 heads of 32.
    """
    with half_of_the_threads():
        by_half = _has_same_bits_in_parts(heads, width)
    return by_half and _has_same_bits_in_parts(heads, width)


@contextmanager
def half_of_the_threads() -> Iterator[None]:
    """Run with half of torch's CPU threads, if their number is even."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads if threads % 2 else threads // 2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode(mode=False)
def _has_same_bits_in_parts(heads: int, width: int) -> bool:
    lengths = [n for width in range(STEP, SHORT + 1, 2 * STEP) for n in (width - 3, width - 1, width)]
    rng = torch.Generator().manual_seed(0)
    whole = [torch.randn(sum(lengths), heads, width, generator=rng) for _ in range(4)]
    expected, ends = _forward_backward(lengths, whole), np.cumsum([0, *lengths])
    for part in (slice(0, None, 2), slice(1, None, 2), slice(2, 3)):
        texts = range(len(lengths))[part]
        rows = torch.from_numpy(np.concatenate([np.arange(ends[i], ends[i + 1]) for i in texts]))
        found = _forward_backward([lengths[i] for i in texts], [x[rows] for x in whole])
        if not all(torch.equal(mine, its[rows]) for mine, its in zip(found, expected, strict=True)):
            return False
    return True


@torch.enable_grad()
def _forward_backward(lengths: list[int], tensors: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Attention of three tensors, and their gradients for the fourth."""
    query, key, value = (x.detach().requires_grad_() for x in tensors[:3])
    out = attend(query, key, value, Blocks(lengths, query.shape[1]), None)
    return out.detach(), *torch.autograd.grad(out, (query, key, value), tensors[3])
