"""Train a masked language model: from random weights, or from those of a base model; the best epoch by nats a token."""

import sys
from pathlib import Path
from typing import Any

from bonafide.datasets import ragged
from bonafide.datasets.masked_texts import SHOWN, Texts, for_evaluation, for_training
from bonafide.forward.batch import Batch
from bonafide.forward.language_modelling import enable
from bonafide.forward.token_losses import cross_entropy
from bonafide.pretrained import heads, tokenizer
from bonafide.pretrained.model_files import is_there
from bonafide.project.arrays import Floats, Metrics
from bonafide.project.console import say
from bonafide.project.paths import BASE_MODEL, TOKENIZED
from bonafide.tasks.masked_lm.model import collate, outputs, stock
from bonafide.training.fit import fit

__all__ = ["CRITERION", "HIGHER_IS_BETTER", "at_epoch", "build", "collate", "enable", "examples", "loss", "outputs"]
__all__ += ["stock", "train", "validation_metrics"]

PARALLEL = True
CRITERION = "nats_per_token"
HIGHER_IS_BETTER = False
HEAD = "MASKED_LM"
FULL = "full_attention"  # in all layers: ModernBERT's own windows are for texts of thousands of tokens,
ROTARY = {"rope_type": "default", "rope_theta": 10_000.0}  # and so is its base of the angles, 160,000


def train(params: Any, *, state: Path) -> Metrics:
    """Train with the engine; return the best epoch's validation metrics."""
    return fit(sys.modules[__name__], params, state)


def examples(folder: Path) -> Texts:
    """A split's texts, of which those tokens are hidden that evaluation hides."""
    return for_evaluation(ragged.read(folder))


def at_epoch(texts: Texts, seed: int, epoch: int) -> Texts:
    """The same texts with other tokens hidden."""
    return for_training(texts.arrays, seed, epoch)


def validation_metrics(texts: Texts, sums: Floats) -> Metrics:  # noqa: ARG001
    """Nats a hidden token and the share of them told, of sums (n, 5); and the share of pairs told, if there are any."""
    nats, masked, hits, next_hits, next_pairs = sums.sum(axis=0).tolist()
    pairs = {"next_accuracy": next_hits / next_pairs} if next_pairs else {}
    return {"nats_per_token": nats / masked, "token_accuracy": hits / masked, **pairs}


def loss(found: Any, batch: Batch) -> Any:
    """The sum of the nats of each text's hidden tokens, (n,) fp32.

    A pair adds the nats of what it is, once for each of its hidden tokens: a step's loss is the mean of both, added.
    """
    from torch.nn.functional import cross_entropy as nats_of

    told = cross_entropy(found, batch)
    if not hasattr(found, "seq_relationship_logits"):
        return told
    pairs = nats_of(found.seq_relationship_logits.float(), batch.labels, reduction="none", ignore_index=SHOWN)
    return told + pairs * pairs.new_tensor(batch.counts)


def build(params: Any) -> Any:
    """The base model with its head, or one from random weights, fp32."""
    if is_there(BASE_MODEL):
        return go_on(BASE_MODEL, params.train.dropout)
    return begin(params.train.architecture, params.train.dropout)


def go_on(source: Path, dropout: float) -> Any:
    """The base model with its masked language model's head, or a fresh one whose last weights are the embeddings'."""
    model, fresh = heads.pretrained(source, HEAD, dropout)
    if fresh:
        say(f"train: the base model has no head for hidden tokens: {len(fresh)} tensors begin at random")
    keep_pooler(model, source)
    return model


def keep_pooler(model: Any, source: Path) -> None:
    """Hand a base model's pooler on as it is: of no use to this task, but to a classifier made of the result."""
    from transformers import AutoModel

    if getattr(model.base_model, "pooler", ()) is None:
        whole = AutoModel.from_pretrained(source, local_files_only=True, use_safetensors=True, dtype="float32")
        model.base_model.pooler = whole.pooler.requires_grad_(requires_grad=False)


def begin(architecture: Any, dropout: float) -> Any:
    """A model with random weights, for the tokenizer that was trained."""
    import transformers

    processor = tokenizer.load(TOKENIZED / "processor")
    modern = architecture.kind == "modernbert"
    config = (transformers.ModernBertConfig if modern else transformers.BertConfig)(
        vocab_size=len(processor),
        hidden_size=architecture.width,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.feed_forward,
        max_position_embeddings=architecture.positions,
        pad_token_id=processor.pad_token_id,
        bos_token_id=processor.cls_token_id,
        eos_token_id=processor.sep_token_id,
        cls_token_id=processor.cls_token_id,
        sep_token_id=processor.sep_token_id,
        **({"layer_types": [FULL] * architecture.layers, "rope_parameters": {FULL: ROTARY}} if modern else {}),
    )
    heads.set_dropout(config, dropout)
    pairs = "ends" in ragged.read(TOKENIZED / "train")
    kind = transformers.AutoModelForPreTraining if pairs else transformers.AutoModelForMaskedLM
    return kind.from_config(config)
