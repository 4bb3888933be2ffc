"""Classifiers of 2 to 3 layers with random weights, texts of random tokens, and engines that train them."""

import copy
import hashlib
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
import transformers

from bonafide.datasets.ragged import Tokens
from bonafide.engine.engine import Engine
from bonafide.engine.hyperparameters import Recipe
from bonafide.engine.process_group import ProcessGroup
from bonafide.tasks.classification import train as classifier

WORDS, CLASSES = 120, 3
NAMES = {
    "bert": "BertConfig",
    "roberta": "RobertaConfig",
    "xlm-roberta": "XLMRobertaConfig",
    "distilbert": "DistilBertConfig",
    "electra": "ElectraConfig",
    "modernbert": "ModernBertConfig",
    "deberta-v2": "DebertaV2Config",
    "albert": "AlbertConfig",
    "roc_bert": "RoCBertConfig",
    "gpt2": "GPT2Config",
    "gpt_neox": "GPTNeoXConfig",
    "opt": "OPTConfig",
    "llama": "LlamaConfig",
    "mistral": "MistralConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
    "gemma": "GemmaConfig",
    "gemma2": "Gemma2Config",
    "gemma3_text": "Gemma3TextConfig",
    "phi": "PhiConfig",
    "phi3": "Phi3Config",
    "olmo": "OlmoConfig",
    "starcoder2": "Starcoder2Config",
}
ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "modernbert", "albert", "roc_bert")
GROUPED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "olmo", "starcoder2")
DECODERS = ("gpt2", "gpt_neox", "opt", *GROUPED)  # those of `GROUPED` share keys and values among heads
DISTILBERT = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
MODERNBERT = {
    "global_attn_every_n_layers": 2,
    "local_attention": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
WINDOWS = {  # of tokens that are seen
    "mistral": {"sliding_window": 6},
    "gemma2": {"sliding_window": 6, "attn_logit_softcapping": 2.0},
    "gemma3_text": {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "starcoder2": {"sliding_window": 6},
}
RECIPE = Recipe(
    epochs=2,
    batch_size=8,
    learning_rate=3e-3,
    warmup_ratio=0.1,
    schedule="linear",
    optimizer="adamw",
    betas=(0.9, 0.999),
    muon_learning_rate=0.02,
    weight_decay=0.01,
    max_grad_norm=1.0,
    gradient_accumulation_steps=1,
    shards=1,
    exact=True,
    precision="fp32",
    seed=1,
)


def build_config(architecture, dropout=0.0, **changes):
    options = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    options |= {"vocab_size": WORDS, "num_labels": CLASSES, "max_position_embeddings": 80}
    options |= {"embedding_size": 16} if architecture in ("electra", "albert") else {}
    options |= MODERNBERT if architecture == "modernbert" else {}
    options |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} if architecture in DECODERS else {}
    options |= {"num_key_value_heads": 1, "head_dim": 16} if architecture in GROUPED else {}
    options |= WINDOWS.get(architecture, {})
    options |= {"word_embed_proj_dim": 32, "ffn_dim": 48} if architecture == "opt" else {}
    options |= changes
    if "layer_types" in options:
        options["layer_types"] = options["layer_types"][: options["num_hidden_layers"]]
    if architecture == "distilbert":
        options["hidden_dim"] = options.pop("intermediate_size")
        options = {DISTILBERT.get(name, name): value for name, value in options.items()}
    config = getattr(transformers, NAMES[architecture])(**options)
    for name in [name for name in config.to_dict() if "dropout" in name or "pdrop" in name]:
        setattr(config, name, 0.0 if "attention" in name or "attn" in name else dropout)
    return config


def build_model(architecture="bert", dropout=0.0, seed=0, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = build_config(architecture, dropout, **changes)
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        for name, p in model.named_parameters():  # biases and norms away from 0 and 1, logits away from 0
            p.data.add_(0.1 * torch.randn_like(p) * (0 if "position" in name and "padding" in name else 1))
    return model


def build_tokens(lengths, seed=0, words=WORDS):
    """Random texts of these lengths."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = rng.integers(5, words, offsets[-1]).astype(np.int32)
    labels = rng.integers(0, CLASSES, len(lengths))
    return Tokens(ids, offsets, labels, np.array([str(i) for i in range(len(lengths))]))


def random_tokens(n, seed=0, longest=20, words=WORDS):
    return build_tokens(np.random.default_rng(seed + 100).integers(2, longest, n), seed, words)


def build_engine(model, tokens, group=None, **changes):
    recipe = replace(RECIPE, **changes)
    return Engine(model, tokens, classifier, recipe, group or ProcessGroup(), lambda _: nullcontext())


def checkpoint_activations(model):
    """Compute activations again backward; the method's name before transformers 5.23 was another."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def digest(model):
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    return hashlib.sha256(weights).hexdigest()


def train(model, tokens, steps, group=None, **changes):
    """The model's weights as a hash after so many steps; the model itself is left as it is."""
    engine = build_engine(copy.deepcopy(model), tokens, group, **changes)
    losses = [float(step.loss) for step, _ in zip(engine.steps(), range(steps), strict=False)]
    return digest(engine.model), losses
