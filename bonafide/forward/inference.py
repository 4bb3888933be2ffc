"""A model over a whole split: batches by length, packed where the model takes it, results in the split's own order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bonafide.forward.batch import Batch
from bonafide.forward.network import Examples
from bonafide.forward.packing import make_batch
from bonafide.project.arrays import Floats, Ints

BATCH = 128  # texts; sorted by length, so that little of it is padding


Collate = Callable[[Any, Ints, Any], Batch]  # examples, rows and a model to a batch, as Network.collate


def predict_all(
    model: Any, examples: Examples, view: Callable[[Any, Batch], Floats], collate: Collate = make_batch
) -> Floats:
    """Apply `view` to batches of every example; return (n, k) float64. bf16 autocast on a GPU.

    The batches depend on the split alone, so that equal weights give equal bits wherever this is called from.
    """
    model.eval()
    device = next(model.parameters()).device
    order = np.argsort(examples.lengths, kind="stable")
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        batches = (collate(examples, order[start : start + BATCH], model) for start in range(0, len(order), BATCH))
        stacked = np.concatenate([view(model, batch) for batch in batches])
    result = np.empty_like(stacked)
    result[order] = stacked
    return result


def load(kind: Any, folder: Path, **options: Any) -> Any:
    """A model in fp32, on the GPU where there is one."""
    model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype="float32", **options)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")
