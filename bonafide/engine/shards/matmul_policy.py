"""How matrix products are computed: in which dtype, and such that a row's bits do not depend on the other rows.

bf16 has twice the rate of fp32 on Zen 4 (AVX512_BF16: 400 against 190 GFLOP/s on 2 cores); weights, moments, sums over
shards, LayerNorm and attention's scores stay fp32. Where a CPU has no instructions for it, oneDNN would imitate it,
slower than fp32.

A library may choose another kernel for another number of rows, and then a row's last bits differ: it is not batch
invariant. Multiplying each shard by itself avoids that and costs 4 % of a step of four shards, since every product
packs the matrix anew. MKL on Zen 3 is batch invariant from 12 rows on; whether this machine's library is so is tried
out at each start (`find_min_invariant_rows`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from bonafide.engine.shards.grad_overlap import GradOverlap
from bonafide.engine.shards.shard_context import ShardSizes

CANDIDATES = (16, 32, 64)  # rows; products of fewer are padded up to them
MAX_ROWS = 4096  # that are tried out: 1 s at 768 x 3072 on two cores


@dataclass
class MatmulPolicy:
    """What all linear layers of a model do alike."""

    dtype: torch.dtype = torch.float32
    """Of products, forward and backward."""
    min_invariant_rows: int = 0
    """From so many rows on a product gives a row the same bits whatever their number; 0: not known."""
    low_precision_weights: dict[nn.Parameter, torch.Tensor] = field(default_factory=dict)
    """Weights in `dtype`, kept beside the fp32 ones, which autocast would cast at every use."""
    _rows: tuple[torch.Tensor | None, int, torch.Tensor | None] = field(default=(None, 0, None), repr=False)
    """What was cast last: the activation, its version, and the result."""

    def cast(self, p: nn.Parameter, dtype: torch.dtype) -> torch.Tensor:
        """A weight in `dtype`: the copy that is kept of it, if there is one."""
        return self.low_precision_weights.get(p, p).to(dtype)

    def cast_rows(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """An activation in `dtype`: once for all layers that read it in turn, as those of queries, keys and values."""
        read, version, found = self._rows
        if found is None or read is not x or version != x._version:  # noqa: SLF001 - or it was written to since
            found = x.detach().to(dtype)
            self._rows = x, x._version, found  # noqa: SLF001
        return found

    def matmul(
        self, product: Callable[..., torch.Tensor], rows: torch.Tensor, matrix: torch.Tensor, sizes: ShardSizes
    ) -> torch.Tensor:
        """`product` of rows (n, k) and matrix (k, m), the bits of a row depending on neither n nor its place.

        All rows at once, padded to `min_invariant_rows` of them; by shards of `sizes` rows where that is not known.
        """
        count, least = rows.shape[0], self.min_invariant_rows
        if 0 < count < least:
            padded = torch.cat([rows, rows.new_zeros(least - count, rows.shape[1])])
            return product(padded, matrix)[:count]
        if least or len(sizes) == 1:
            return product(rows, matrix)
        out = rows.new_empty(count, matrix.shape[1])
        for part, target in zip(torch.split_with_sizes(rows, sizes), torch.split_with_sizes(out, sizes), strict=True):
            product(part, matrix, out=target)
        return out


def matmul_dtype(precision: str, *, is_cuda: bool) -> torch.dtype:
    """What `train.precision` ("bf16" or "fp32") comes to here: it depends on the machine, as its fingerprint does."""
    return torch.bfloat16 if precision == "bf16" and (is_cuda or _has_bf16()) else torch.float32


def _has_bf16() -> bool:
    return torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - no other way; processors with AMX have it too


def find_min_invariant_rows(
    model: nn.Module, rows: int, overlap: GradOverlap, dtype: torch.dtype = torch.float32
) -> int:
    """The smallest of `CANDIDATES` from which on all products of the model's shapes are batch invariant; 0: none is.

    `rows` is about what the job multiplies at once; backward products are tried with the threads that `overlap` leaves
    them. What it says is the same at every start on one machine. On a GPU it is 0: cuBLAS chooses among many kernels by
    the number of rows, too many to try.
    """
    linear = [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D)]
    found = {(m.nf, m.nx) if isinstance(m, Conv1D) else (m.in_features, m.out_features) for m in linear}
    device, rows = next(model.parameters()).device, min(MAX_ROWS, max(256, rows))
    if device.type != "cpu":
        return 0
    works = (n for n in CANDIDATES if all(_is_invariant(shape, n, rows, overlap, dtype) for shape in sorted(found)))
    return next(works, 0)


def _is_invariant(shape: tuple[int, int], least: int, rows: int, overlap: GradOverlap, dtype: torch.dtype) -> bool:
    """Whether forward and backward products of `least` and more rows are bitwise those of `rows` rows."""
    inner, outer = shape
    rng = torch.Generator().manual_seed(0)
    shapes = (rows, inner), (outer, inner), (rows, outer), (outer,)
    x, weight, g, bias = (torch.randn(shape, generator=rng, dtype=dtype) for shape in shapes)
    counts = {least, least + 1, least + 3, 2 * least - 1, 3 * least, rows // 4, rows // 4 + 1, rows // 3, rows // 2}
    parts = [part for n in sorted(counts) if least <= n <= rows for part in (slice(0, n), slice(rows - n, rows))]
    forward = torch.addmm(bias, x, weight.t())
    if not all(torch.equal(torch.addmm(bias, x[part], weight.t()), forward[part]) for part in parts):
        return False
    with overlap.active():
        backward = torch.mm(g, weight)
        return all(torch.equal(torch.mm(g[part], weight), backward[part]) for part in parts)
