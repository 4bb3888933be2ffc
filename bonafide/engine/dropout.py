"""Dropout's chance on a GPU: a word a row from the host, hashed on the device with one a column.

The CPU's generator, one Philox stream for each shard and site, would draw and send 629 MB for a step of 16,384 tokens
of BERT-base: 25 sites of 768 columns. Here the host draws 131 kB, a word a token. torch.Generator on CUDA was not
taken: which element gets which number depends on the number of multiprocessors, each of 4 shards and 25 sites needs a
seed and a launch of its own, and no CPU can test it. A word makes four elements, and is hashed in place: 26 bytes of
memory traffic an element with what the dropout itself reads and writes, of which an H100's cache holds most.

`drop` waits for nothing and keeps no state: a CUDA graph can hold it, whose chance is in the row words it is given.
"""

from functools import cache
from typing import Any

import numpy as np
import torch

from bonafide.forward.transfer import send

FACTORS = (0x9E3779B97F4A7C15 - 2**64, 0xD6E8FEB86659FD93 - 2**64)  # odd; as int64


def row_words(sizes: list[int], key: int, first_shard: int, device: torch.device) -> torch.Tensor:
    """A word for each row of shards of so many rows, (rows,) int64: a pure function of (key, shard, position in it)."""
    streams = (np.random.Philox(key=[key, shard]) for shard in range(first_shard, first_shard + len(sizes)))
    words = [stream.random_raw(rows) for stream, rows in zip(streams, sizes, strict=True)]
    return send(np.concatenate(words).view(np.int64), device)


@cache
def column_words(site: int, count: int, device: torch.device) -> torch.Tensor:
    """The `count` words of a site, (count,) int64, the same in every step; sent once."""
    return send(np.random.Philox(key=[0, site], counter=[0, 0, 0, 1]).random_raw(count).view(np.int64), device)


def hashed(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """A word for each row and column, (n,) and (m,) int64 to (n, m): mod 2^64, (w * factor) ^ (w * factor >> 32) twice.

    The shift, of which torch has only the signed one, is the xor of a word's upper half to its lower one.
    """
    words = rows[:, None] + columns
    low, high = words.view(torch.int32).view(*words.shape, 2).unbind(-1)  # little-endian
    for factor in FACTORS:
        words.mul_(factor)
        low.bitwise_xor_(high)
    return words


class _Drop(torch.autograd.Function):
    """x times mask times scale in one kernel, forth and back; the mask takes a byte an element."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kept: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return torch.ops.aten.native_dropout_backward(x, kept, scale)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return torch.ops.aten.native_dropout_backward(grads[0], *ctx.saved_tensors, ctx.scale), None, None


def drop(x: torch.Tensor, p: float, rows: torch.Tensor, site: int) -> torch.Tensor:
    """Return x (..., d) with a share `p` of it zero, to 2^-16, and the rest scaled up; `rows` are its row words."""
    width, threshold = x.shape[-1], round(p * 65536)
    words = hashed(rows, column_words(site, -(-width // 4), x.device)).view(torch.int16)[:, :width]
    kept = (words >= threshold - 32768).view(x.shape)
    return _Drop.apply(x, kept, 65536 / (65536 - threshold))  # type: ignore[no-any-return, no-untyped-call]
