"""The dtype of a training's products: bfloat16 where params ask for it and the machine has instructions for it.

Twice the rate of fp32 on Zen 4 (AVX512_BF16: 400 against 190 GFLOP/s on 2 cores); weights, moments, sums of shards,
LayerNorm and attention's scores stay fp32. Elsewhere oneDNN would imitate it, slower than fp32.
"""

import torch


def product_dtype(precision: str, *, on_gpu: bool) -> torch.dtype:
    """What `train.precision` ("bf16" or "fp32") comes to here: it depends on the machine, as its fingerprint does."""
    return torch.bfloat16 if precision == "bf16" and (on_gpu or _has_bf16()) else torch.float32


def _has_bf16() -> bool:
    return torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - no other way; processors with AMX have it too
