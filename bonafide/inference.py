"""A model over a whole split: length-sorted padded batches, results in the split's own order."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bonafide.ragged import Tokens
from tasks import Batch, Example, Floats

BATCH = 128  # texts; sorted by length, so that little of it is padding


def predict_all(
    model: Any,
    tokens: Tokens,
    collate: Callable[[Sequence[Example]], Batch],
    predict: Callable[[Any, Batch], Floats],
) -> Floats:
    """Apply `predict` to every text; return (n, k) float64. bf16 autocast on a GPU.

    The batches depend on the split alone, so that equal weights give equal bits wherever this is called from.
    """
    model.eval()
    device = next(model.parameters()).device
    order = np.argsort(tokens.lengths, kind="stable")
    parts = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        for start in range(0, len(order), BATCH):
            batch = collate([tokens.example(int(i)) for i in order[start : start + BATCH]])
            parts.append(predict(model, {name: tensor.to(device) for name, tensor in batch.items()}))
    stacked = np.concatenate(parts)
    result = np.empty_like(stacked)
    result[order] = stacked
    return result
