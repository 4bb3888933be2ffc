"""A causal language model: transformers' own class, and what it says of each document's tokens."""

from pathlib import Path
from typing import Any

import numpy as np

from bonafide.datasets.windows import Windows, for_evaluation
from bonafide.forward.batch import Batch
from bonafide.forward.inference import load as load_model
from bonafide.forward.inference import predict_all
from bonafide.forward.language_modelling import enable, make_batch
from bonafide.forward.token_losses import counted_logits, nats_and_hits
from bonafide.project.arrays import Arrays, Floats, Ints
from bonafide.protocol import Outputs

FIELDS = ("nats", "tokens", "hits")
BATCH = 64  # windows


def load(folder: Path) -> Any:
    """A trained model that takes packed batches if it can, and padded ones if not."""
    model = stock(folder)
    enable(model)
    return model


def stock(folder: Path) -> Any:
    """A trained model as transformers loads it."""
    from transformers import AutoModelForCausalLM

    return load_model(AutoModelForCausalLM, folder)


def predict(model: Any, examples: Arrays) -> Outputs:
    """Of each document FIELDS, (documents,): nats of its tokens, their number, and those that were most likely."""
    windows = for_evaluation(examples)
    sums = windows.sum_by_document(predict_all(model, windows, outputs, collate))
    return np.array([tuple(row) for row in sums.tolist()], dtype=[(name, np.float64) for name in FIELDS])


def surprise(model: Any, windows: Windows) -> Floats:
    """Nats of each token of a split's documents, (tokens,); 0 for those that none of the windows counts."""
    import torch

    found, order = np.zeros(len(windows.input_ids)), np.argsort(windows.lengths, kind="stable")
    with torch.inference_mode():
        for rows in np.array_split(order, -(-len(order) // BATCH)):
            positions, _ = windows.positions(rows)
            batch = collate(windows, rows, model)
            logits = counted_logits(model(**batch.inputs), batch).float()
            nats = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
            found[positions[windows.is_counted(positions, rows)]] = nats.double().cpu().numpy()
    return found


def outputs(model: Any, batch: Batch) -> Floats:
    """Of each window of a batch FIELDS, (n, 3) float64, over the tokens that count."""
    found = nats_and_hits(model(**batch.inputs), batch)
    return np.stack([found[:, 0], np.array(batch.counts, dtype=np.float64), found[:, 1]], axis=1)


def collate(windows: Windows, rows: Ints, model: Any) -> Batch:
    """A batch of windows `rows`, which ascend in length: each token is predicted from those before it."""
    positions, _ = windows.positions(rows)
    counts = windows.is_counted(positions, rows)
    ids, targets = windows.read(positions, rows, start_of(model)), windows.targets(positions)
    return make_batch(model, ids, windows.lengths[rows], counts, targets[counts])


def start_of(model: Any) -> int:
    """What the model reads where a document begins: its token for that, or the one for an end."""
    config = model.config.get_text_config()
    found = config.bos_token_id if config.bos_token_id is not None else config.eos_token_id
    return int(found[0] if isinstance(found, list) else found or 0)
