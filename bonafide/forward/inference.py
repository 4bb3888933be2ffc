"""A model over a whole split: batches by length, packed where the model takes it, results in the split's own order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bonafide.datasets.ragged import Tokens
from bonafide.forward.batch import Batch
from bonafide.forward.packing import make_batch
from bonafide.project.arrays import Floats

BATCH = 128  # texts; sorted by length, so that little of it is padding


def predict_all(model: Any, tokens: Tokens, view: Callable[[Any, Batch], Floats]) -> Floats:
    """Apply `view` to every text; return (n, k) float64. bf16 autocast on a GPU.

    The batches depend on the split alone, so that equal weights give equal bits wherever this is called from.
    """
    model.eval()
    device = next(model.parameters()).device
    order = np.argsort(tokens.lengths, kind="stable")
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        batches = (make_batch(tokens, order[start : start + BATCH], model) for start in range(0, len(order), BATCH))
        stacked = np.concatenate([view(model, batch) for batch in batches])
    result = np.empty_like(stacked)
    result[order] = stacked
    return result


def load(kind: Any, folder: Path, **options: Any) -> Any:
    """A model in fp32, on the GPU where there is one."""
    model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype="float32", **options)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")
