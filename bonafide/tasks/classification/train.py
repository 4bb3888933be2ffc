"""Fine-tune a text classifier: the base model with a fresh head, cross-entropy, the best epoch by macro F1."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.datasets.ragged import Tokens
from bonafide.datasets.ragged import read_tokens as examples
from bonafide.forward.packing import make_batch as collate
from bonafide.forward.packing import try_packing as enable
from bonafide.pretrained import heads
from bonafide.pretrained.padding import separate
from bonafide.project.arrays import Floats, Metrics
from bonafide.project.paths import BASE_MODEL, TOKENIZED
from bonafide.tasks.classification.model import HEAD, probe, stock
from bonafide.tasks.classification.model import probabilities as outputs
from bonafide.training.fit import fit

__all__ = ["CRITERION", "HIGHER_IS_BETTER", "at_epoch", "build", "collate", "enable", "examples", "loss", "outputs"]
__all__ += ["stock", "train", "validation_metrics"]

PARALLEL = True
CRITERION = "f1_macro"
HIGHER_IS_BETTER = True


def train(params: Any, *, state: Path) -> Metrics:
    """Fine-tune the base model with the engine; return the best epoch's validation metrics."""
    return fit(sys.modules[__name__], params, state)


def at_epoch(texts: Tokens, _seed: int, _epoch: int) -> Tokens:
    """The same texts every time."""
    return texts


def validation_metrics(texts: Tokens, predictions: Floats) -> Metrics:
    """Accuracy, macro F1 over the classes that are there, and log-loss in nats, of class probabilities (n, classes).

    Training has formulas of its own, so that it does not depend on how a model is scored.
    """
    labels, classes, chosen = texts.labels, predictions.shape[1], predictions.argmax(axis=1)
    hits, predicted, actual = (np.bincount(x, minlength=classes) for x in (labels[chosen == labels], chosen, labels))
    present = actual > 0
    certainty = np.maximum(predictions[np.arange(len(labels)), labels], np.finfo(np.float64).eps)
    return {
        "accuracy": float((chosen == labels).mean()),
        "f1_macro": float((2 * hits[present] / (predicted + actual)[present]).mean()),
        "log_loss": float(-np.log(certainty).mean()),
    }


def loss(outputs: Any, batch: Any) -> Any:
    """Cross-entropy of each text, nats, (n,), from its fp32 logits."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs.logits.float(), batch.labels, reduction="none")


def build(params: Any) -> Any:
    """The base model with a fresh head, which takes padded texts of any lengths."""
    labels = json.loads((TOKENIZED / "labels.json").read_text(encoding="utf-8"))
    model = build_model(BASE_MODEL, labels, params.train.dropout)
    separate(model, probe(BASE_MODEL))
    return model


def build_model(source: Path, labels: Sequence[str], dropout: float) -> Any:
    """The base model with a fresh classification head, fp32.

    Attention probabilities are not dropped: the fast scaled-dot-product kernels do not support it.
    """
    config = heads.read_config(source, HEAD)
    heads.set_dropout(config, dropout)
    if getattr(config, "attention_type", "") == "block_sparse":  # it gives it up for good at the first short batch
        config.attention_type = "original_full"
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    if config.problem_type not in (None, "single_label_classification"):
        config.problem_type = "single_label_classification"
    model, info = heads.build(config, HEAD, **heads.fresh(config, HEAD, source))
    heads.check_whole(model, info)
    return model
