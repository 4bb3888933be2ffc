"""Translators and language models of two layers with random weights, and texts of random tokens for them."""

import numpy as np
import torch
import transformers

from bonafide.forward.pairs import Pairs
from tests.tiny_engines import WORDS, build_config

SIDES = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
SIDES |= {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "d_model": 32, "max_position_embeddings": 64}
TRANSLATORS = {
    "marian": ("Marian", "MarianMTModel", {"pad_token_id": 0, "decoder_start_token_id": 0, "scale_embedding": True}),
    "bart": ("Bart", "BartForConditionalGeneration", {}),
    "mbart": ("MBart", "MBartForConditionalGeneration", {"decoder_start_token_id": 2}),
    "m2m_100": ("M2M100", "M2M100ForConditionalGeneration", {}),
    "pegasus": ("Pegasus", "PegasusForConditionalGeneration", {}),
    "t5": ("T5", "T5ForConditionalGeneration", {"decoder_start_token_id": 0}),
}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
CAUSAL = ("gpt2", "llama", "qwen3", "gpt_neox")
MASKED = ("bert", "roberta", "modernbert", "distilbert")


def build_translator(architecture="marian", seed=0, dropout=0.0, **changes):
    name, kind, options = TRANSLATORS[architecture]
    rates = {"dropout_rate": dropout} if architecture == "t5" else {"dropout": dropout, "attention_dropout": 0.0}
    sizes = T5 if architecture == "t5" else SIDES
    config = getattr(transformers, f"{name}Config")(vocab_size=WORDS, **sizes | rates | options | changes)
    return _build(getattr(transformers, kind), config, seed)


def build_language_model(architecture="llama", kind=None, seed=0, dropout=0.0, **changes):
    """`kind`: CausalLM, MaskedLM or PreTraining."""
    kind = kind or ("CausalLM" if architecture in CAUSAL else "MaskedLM")
    config = build_config(architecture, dropout, **changes)
    return _build(getattr(transformers, f"AutoModelFor{kind}").from_config, config, seed)


def _build(make, config, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(config)
        for p in model.parameters():  # biases and norms away from 0 and 1
            if p.requires_grad:
                p.data.add_(0.1 * torch.randn_like(p))
    return model


def build_pairs(source, target, seed=0, words=WORDS):
    """Random pairs of these lengths; targets end in 1."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(5, words, sum(lengths)).astype(np.int32) for lengths in (source, target)]
    offsets = [np.append(0, np.cumsum(lengths)).astype(np.int64) for lengths in (source, target)]
    ids[1][offsets[1][1:] - 1] = 1
    return Pairs(ids[0], offsets[0], ids[1], offsets[1], np.array([str(i) for i in range(len(source))]))


def random_pairs(n, seed=0, longest=20, words=WORDS):
    rng = np.random.default_rng(seed + 100)
    return build_pairs(rng.integers(1, longest, n), rng.integers(2, longest, n), seed, words)
