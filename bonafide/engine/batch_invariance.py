"""Products of rows with a matrix, such that the bits of a row do not depend on how many others there are.

A GEMM may choose another kernel for another number of rows, and then a row's last bits differ. Taking each shard for
itself avoids that and costs 4 % of a step of four shards, since every product packs the matrix anew. MKL on Zen 3 gives
equal bits from 12 rows on; whether this machine's library does so is tried out at each start (`least_rows`).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bonafide.forward.overlap import Aside

TRIED = (16, 32, 64)  # rows; what is below them is padded up to them
MOST = 4096  # rows that are tried out: 1 s at 768 x 3072 on two cores


def by_rows(
    product: Callable[..., torch.Tensor], rows: torch.Tensor, matrix: torch.Tensor, sizes: list[int], least: int
) -> torch.Tensor:
    """`product` of rows (n, k) and matrix (k, m), the bits of a row depending on neither n nor its place.

    All rows at once, padded to `least` of them; by shards of `sizes` rows where it is 0.
    """
    count = rows.shape[0]
    if 0 < count < least:
        padded = torch.cat([rows, rows.new_zeros(least - count, rows.shape[1])])
        return product(padded, matrix)[:count]
    if least or len(sizes) == 1:
        return product(rows, matrix)
    out = rows.new_empty(count, matrix.shape[1])
    for part, target in zip(torch.split_with_sizes(rows, sizes), torch.split_with_sizes(out, sizes), strict=True):
        product(part, matrix, out=target)
    return out


def least_rows(model: nn.Module, rows: int, aside: Aside, dtype: torch.dtype = torch.float32) -> int:
    """The smallest of `TRIED` from which on all products of the model's shapes in `dtype` are alike; 0: there is none.

    `rows` is about what the job multiplies at once; backward products are tried while threads are shared as `aside`
    does. What it says is the same at every start on one machine. On a GPU it is 0: cuBLAS chooses among many kernels by
    the number of rows, too many to try.
    """
    found: Any = {(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)}
    device, rows = next(model.parameters()).device, min(MOST, max(256, rows))
    if device.type != "cpu":
        return 0
    tried = (least for least in TRIED if all(_alike(shape, least, rows, aside, dtype) for shape in sorted(found)))
    return next(tried, 0)


def _alike(shape: tuple[int, int], least: int, rows: int, aside: Aside, dtype: torch.dtype) -> bool:
    """Whether forward and backward products of `least` and more rows are bitwise those of `rows` rows."""
    inner, outer = shape
    chance = torch.Generator().manual_seed(0)
    shapes = (rows, inner), (outer, inner), (rows, outer), (outer,)
    x, weight, g, bias = (torch.randn(shape, generator=chance, dtype=dtype) for shape in shapes)
    counts = {least, least + 1, least + 3, 2 * least - 1, 3 * least, rows // 4, rows // 4 + 1, rows // 3, rows // 2}
    parts = [part for n in sorted(counts) if least <= n <= rows for part in (slice(0, n), slice(rows - n, rows))]
    forward = torch.addmm(bias, x, weight.t())
    if not all(torch.equal(torch.addmm(bias, x[part], weight.t()), forward[part]) for part in parts):
        return False
    with aside.shared():
        backward = torch.mm(g, weight)
        return all(torch.equal(torch.mm(g[part], weight), backward[part]) for part in parts)
