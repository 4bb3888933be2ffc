"""A model over a whole split: batches by length, packed where the model takes it, results in the split's own order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bonafide.forward.network import Examples
from bonafide.forward.packing import make_batch
from bonafide.project.arrays import Floats, Ints

BATCH = 128  # texts; sorted by length, so that little of it is padding
TOKENS = 16_384  # of a batch, if it has more than one text: 128 windows of 256 would have 6.6 GB of GPT-2's logits

Collate = Callable[[Any, Ints, Any], Any]  # examples, rows and a model to a Batch, as Network.collate


def predict_all(
    model: Any, examples: Examples, view: Callable[[Any, Any], Floats], collate: Collate = make_batch
) -> Floats:
    """Apply `view` to batches of every example; return (n, k) float64. bf16 autocast on a GPU.

    The batches depend on the split alone, so that equal weights give equal bits wherever this is called from.
    """
    model.eval()
    device = next(model.parameters()).device
    order = np.argsort(examples.lengths, kind="stable")
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        parts = np.split(order, cuts(examples.lengths[order]))
        stacked = np.concatenate([view(model, collate(examples, rows, model)) for rows in parts])
    result = np.empty_like(stacked)
    result[order] = stacked
    return result


def cuts(lengths: Ints) -> list[int]:
    """Where to cut examples of ascending lengths, so that none has more than `BATCH` of them or `TOKENS`, padded."""
    found, first = [], 0
    for place, length in enumerate(lengths.tolist()):
        if place - first == BATCH or (place > first and (place - first + 1) * length > TOKENS):
            found.append(place)
            first = place
    return found


def load(kind: Any, folder: Path, **options: Any) -> Any:
    """A model in fp32, on the GPU where there is one."""
    model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype="float32", **options)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")
