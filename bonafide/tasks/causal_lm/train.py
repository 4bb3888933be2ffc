"""Train a causal language model: from random weights, or from a base model's; the best epoch by nats a token."""

import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from bonafide.datasets import ragged
from bonafide.datasets.windows import Windows, for_evaluation
from bonafide.datasets.windows import for_training as at_epoch
from bonafide.forward.language_modelling import enable
from bonafide.forward.token_losses import cross_entropy as loss
from bonafide.pretrained import heads, tokenizer
from bonafide.pretrained.model_files import is_there
from bonafide.project.arrays import Floats, Metrics
from bonafide.project.paths import BASE_MODEL, TOKENIZED
from bonafide.tasks.causal_lm.model import collate, outputs, stock
from bonafide.tasks.causal_lm.params import Architecture
from bonafide.training.fit import fit

__all__ = ["CRITERION", "HIGHER_IS_BETTER", "at_epoch", "build", "collate", "enable", "examples", "loss", "outputs"]
__all__ += ["stock", "train", "validation_metrics"]

PARALLEL = True
CRITERION = "nats_per_token"
HIGHER_IS_BETTER = False
HEAD = "CAUSAL_LM"


def train(params: Any, *, state: Path) -> Metrics:
    """Train with the engine; return the best epoch's validation metrics."""
    return fit(sys.modules[__name__], params, state)


def examples(folder: Path) -> Windows:
    """A split's documents in the windows that evaluation reads."""
    return for_evaluation(ragged.read(folder))


def validation_metrics(windows: Windows, sums: Floats) -> Metrics:
    """Nats a token, the share of tokens that were most likely, and bits a character, of sums (n, 3) of windows."""
    nats, tokens, hits = sums.sum(axis=0).tolist()
    characters = int(windows.characters.sum())
    return {
        "nats_per_token": nats / tokens,
        "token_accuracy": hits / tokens,
        "bits_per_character": nats / math.log(2) / characters,
    }


def build(params: Any) -> Any:
    """The base model, or one of random weights, fp32."""
    if is_there(BASE_MODEL):
        return heads.pretrained(BASE_MODEL, HEAD, params.train.dropout)[0]
    processor, [context] = tokenizer.load(TOKENIZED / "processor"), ragged.read(TOKENIZED / "train")["context"].tolist()
    return begin(params.train.architecture, processor, context, params.train.dropout)


def begin(architecture: Architecture, processor: Any, context: int, dropout: float) -> Any:
    """A model of random weights for the tokenizer that was trained; documents begin and end with its end token."""
    import transformers

    config_class, model_class = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
        "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
    }[architecture.kind]
    inner = {"n_inner": architecture.feed_forward}  # by GPT-2's name
    gated = {"intermediate_size": architecture.feed_forward, "num_key_value_heads": architecture.key_value_heads}
    gated["head_dim"] = architecture.width // architecture.heads
    config = config_class(
        vocab_size=len(processor),
        hidden_size=architecture.width,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        max_position_embeddings=context,
        tie_word_embeddings=architecture.tied,
        pad_token_id=processor.pad_token_id,
        bos_token_id=processor.eos_token_id,
        eos_token_id=processor.eos_token_id,
        **(inner if architecture.kind == "gpt2" else gated),
    )
    heads.set_dropout(config, dropout)
    model = model_class(config)
    if architecture.kind != "gpt2":
        drop_outputs(model, dropout)
    return model


def drop_outputs(model: Any, dropout: float) -> None:
    """Drop from what attention and feed-forward add to the stream, as GPT-2 does, where an architecture has no such.

    Only while it is trained: the modules have no weights, and are not saved.
    """
    for layer in model.model.layers:
        for name, module in (("attention_dropout", layer.self_attn.o_proj), ("feed_forward_dropout", layer.mlp)):
            layer.add_module(name, nn.Dropout(dropout))
            module.register_forward_hook(partial(_drop, layer, name))


def _drop(layer: nn.Module, name: str, _module: nn.Module, _args: Any, output: Any) -> Any:
    return layer.get_submodule(name)(output)  # looked up at each call: the engine puts one of its own there
