"""Attention within short texts on the CPU: texts of like length in one block, padded to the next multiple of eight.

A few batched products replace a kernel call for every length: 4.0 ms instead of 8.5 for a layer's forward and backward
over 32 texts of 26 tokens (MiniLM, 2 cores of Zen 3). In fp32 the kernel is as fast from some hundred tokens on, and
need not keep the probabilities; in bf16 it takes more than twice as long. What a text is padded to depends on its own
length alone. So do its bits, where this machine's batched products allow it, which is tried out once
(`is_batch_invariant`); elsewhere torch's attention is taken.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch

from bonafide.project.arrays import Ints

SHORT, STEP = 96, 8  # tokens: at 96 a layer takes 10 ms instead of 14, at 128 12 instead of 16, at 256 as long
LONGER = (128, 256)  # of texts to be tried in bf16
LONG = 512  # tokens in bf16: 26 CPU-ms instead of 74 for 16 causal texts of 256, 24 instead of 60 for 4 of 512


class _Rows:
    """Where the rows of texts lie by block, text, head and position, each text padded to its block's width."""

    def __init__(self, lengths: Ints, widths: Ints, order: Ints, heads: int) -> None:
        """Texts of `lengths` rows lie end to end as (rows, heads, d); they come in `order`, each `widths` wide."""
        ends = np.cumsum(lengths)
        real, padded, firsts = lengths[order], widths[order], (ends - lengths)[order]
        each = np.repeat(padded, heads)  # of (text, head)
        at = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
        length, first = (np.repeat(a, heads * padded) for a in (real, firsts))
        head = np.repeat(np.tile(np.arange(heads), len(real)), each)
        source = (first + np.minimum(at, length - 1)) * heads + head
        inside = at < length
        inverse = np.empty(heads * real.sum(), dtype=np.int64)
        inverse[source[inside]] = np.flatnonzero(inside)
        self.source, self.inverse, self.padding = map(torch.from_numpy, (source, inverse, np.flatnonzero(~inside)))
        self.heads = heads

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, heads, d) to (block rows, d), block after block; padding repeats a text's last row."""
        return x.reshape(-1, x.shape[-1]).index_select(0, self.source)

    def scatter(self, x: torch.Tensor) -> torch.Tensor:
        """What `gather` took apart, without the padding."""
        return x.index_select(0, self.inverse).view(-1, self.heads, x.shape[-1])


class Blocks:
    """Texts in blocks of like lengths of queries and of keys, each padded to a multiple of `STEP`."""

    def __init__(
        self,
        queries: Sequence[int],
        keys: Sequence[int],
        heads: int,
        *,
        causal: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Lay out texts that have so many `queries` and `keys`; `causal`: no query sees the keys after it.

        A single query that sees all keys is not padded. `dtype`: of the products.
        """
        self.dtype = dtype
        real = np.array([queries, keys], dtype=np.int64)
        widths = -(-real // STEP) * STEP
        widths[0][(real[0] == 1) & (not causal)] = 1
        order = np.lexsort(widths[::-1])
        self.keys = _Rows(real[1], widths[1], order, heads)
        same = np.array_equal(real[0], real[1]) and np.array_equal(widths[0], widths[1])
        self.queries = self.keys if same else _Rows(real[0], widths[0], order, heads)
        (wide, long), counts = np.unique(widths[:, order], axis=1, return_counts=True)
        self.shapes = [*zip((counts * heads).tolist(), wide.tolist(), long.tolist(), strict=True)]
        """(texts x heads, queries, keys) of each block."""
        parts = np.split(real[1][order], np.cumsum(counts)[:-1])
        self.masks = [
            _causal_mask(width, dtype) if causal else _padding_mask(part, width, heads).to(dtype)
            for part, width in zip(parts, long.tolist(), strict=True)
        ]

    def views(self, queries: Sequence[torch.Tensor], keys: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
        """Each block's part (texts x heads, width, d) of every tensor that has a row for each query, or each key."""
        sides = [(x, [n * width for n, width, _ in self.shapes]) for x in queries]
        sides += [(x, [n * width for n, _, width in self.shapes]) for x in keys]
        split = (torch.split_with_sizes(x, rows) for x, rows in sides)
        for (n, *_), *parts in zip(self.shapes, *split, strict=True):
            yield [part.view(n, -1, part.shape[-1]) for part in parts]


@cache
def _causal_mask(width: int, dtype: torch.dtype) -> torch.Tensor:
    """(1, width, width): 0 for what a token sees, -inf for what comes after it, as all padding does."""
    return torch.full((1, width, width), -torch.inf, dtype=dtype).triu_(1)


def _padding_mask(lengths: Ints, width: int, heads: int) -> torch.Tensor:
    """(texts x heads, 1, width): 0 for a key, -inf for padding."""
    mask = np.where(np.arange(width) < lengths[:, None], np.float32(0), np.float32("-inf"))
    return torch.from_numpy(np.repeat(mask, heads, axis=0)[:, None])


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, blocks: Blocks, scale: float
    ) -> torch.Tensor:
        q, k, v = blocks.queries.gather(query), blocks.keys.gather(key), blocks.keys.gather(value)
        out, weights = torch.empty_like(q), []
        for mask, (q_block, out_block, k_block, v_block) in zip(
            blocks.masks, blocks.views((q, out), (k, v)), strict=True
        ):
            weight = torch.baddbmm(mask, q_block, k_block.transpose(1, 2), alpha=scale).softmax(-1)
            torch.bmm(weight, v_block, out=out_block)
            weights.append(weight)
        ctx.blocks, ctx.scale = blocks, scale
        ctx.save_for_backward(q, k, v, *weights)
        return blocks.queries.scatter(out)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        blocks, (q, k, v, *weights) = ctx.blocks, ctx.saved_tensors
        g = blocks.queries.gather(grads[0]).index_fill_(0, blocks.queries.padding, 0)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        views = blocks.views((q, g, dq), (k, v, dk, dv))
        for weight, (q_block, g_block, dq_block, k_block, v_block, dk_block, dv_block) in zip(
            weights, views, strict=True
        ):
            torch.bmm(weight.transpose(1, 2), g_block, out=dv_block)
            d_weight = torch.bmm(g_block, v_block.transpose(1, 2))
            d_score = torch._softmax_backward_data(d_weight, weight, -1, weight.dtype).mul_(ctx.scale)  # noqa: SLF001
            torch.bmm(d_score, k_block, out=dq_block)
            torch.bmm(d_score.transpose(1, 2), q_block, out=dk_block)
        return blocks.queries.scatter(dq), blocks.keys.scatter(dk), blocks.keys.scatter(dv), None, None


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, blocks: Blocks, scale: float | None
) -> torch.Tensor:
    """Softmax attention of query (queries, heads, d) on key and value (keys, heads, d) within each text.

    Computed in the blocks' dtype; `scale` None is 1 / sqrt(d). Returns the query's shape and dtype.
    """
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    with torch.autocast("cpu", enabled=False):
        out = _Attention.apply(*(x.to(blocks.dtype) for x in (query, key, value)), blocks, scale)  # type: ignore[no-untyped-call]
    return out.to(query.dtype)  # type: ignore[no-any-return]


@cache
def is_batch_invariant(heads: int, width: int, dtype: torch.dtype = torch.float32, *, cross: bool = False) -> bool:
    """Whether a text's bits, forward and backward, are the same among all texts and among a part of them.

    With all threads and with half of them, as `GradOverlap` leaves to backward. The same at every start on one machine;
    some 60 ms with 12 heads of 32. `cross`: where texts have other numbers of queries than of keys.
    """
    texts = _cross_texts() if cross else _self_texts()
    if dtype != torch.float32:
        texts += [(n, n) for width in LONGER for n in (width - 3, width - 1, width)]
    with half_of_the_threads():
        by_half = _has_same_bits_in_parts(texts, heads, width, dtype)
    return by_half and _has_same_bits_in_parts(texts, heads, width, dtype)


@contextmanager
def half_of_the_threads() -> Iterator[None]:
    """Run with half of torch's CPU threads, if their number is even."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads if threads % 2 else threads // 2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _self_texts() -> list[tuple[int, int]]:
    """(queries, keys) of texts that see themselves, three in a block."""
    return [(n, n) for width in range(STEP, SHORT + 1, 2 * STEP) for n in (width - 3, width - 1, width)]


def _cross_texts() -> list[tuple[int, int]]:
    """(queries, keys) of texts that see others, three in a block."""
    widths = range(STEP, SHORT + 1, 3 * STEP)
    return [(queries - less, keys - less) for queries, keys in product(widths, widths) for less in (3, 1, 0)]


@torch.inference_mode(mode=False)
def _has_same_bits_in_parts(texts: list[tuple[int, int]], heads: int, width: int, dtype: torch.dtype) -> bool:
    rng = torch.Generator().manual_seed(0)
    queries, keys = (sum(side) for side in zip(*texts, strict=True))
    whole = [torch.randn(rows, heads, width, generator=rng).to(dtype) for rows in (queries, keys, keys, queries)]
    expected = _forward_backward(texts, whole)
    for part in (slice(0, None, 2), slice(1, None, 2), slice(2, 3)):
        query, key = (_rows_of(side, part) for side in zip(*texts, strict=True))
        found = _forward_backward(texts[part], [x[at] for x, at in zip(whole, (query, key, key, query), strict=True)])
        if not all(torch.equal(a, b[at]) for a, b, at in zip(found, expected, (query, query, key, key), strict=True)):
            return False
    return True


def _rows_of(lengths: Sequence[int], part: slice) -> torch.Tensor:
    ends = np.cumsum(lengths)
    rows = [np.arange(end - length, end) for end, length in zip(ends[part], lengths[part], strict=True)]
    return torch.from_numpy(np.concatenate(rows))


@torch.enable_grad()
def _forward_backward(texts: list[tuple[int, int]], tensors: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Attention of three tensors, and their gradients for the fourth."""
    query, key, value = (x.detach().requires_grad_() for x in tensors[:3])
    queries, keys = zip(*texts, strict=True)
    out = attend(query, key, value, Blocks(queries, keys, query.shape[1], dtype=query.dtype), None)
    return out.detach(), *torch.autograd.grad(out, (query, key, value), tensors[3])
