"""A corpus of made-up lines, and a model of random weights for its characters."""

from types import SimpleNamespace

import numpy as np
import torch

from bonafide.pretrained import tokenizer, tokenizer_training
from bonafide.tasks.causal_lm import encode, train

CONTEXT = 16
WORDS = ("the", "king", "was", "mad", "and", "saw", "a", "ghost", "on", "his", "wall", "once", "more")


def lines(count, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 15))) for _ in range(count)]


def processor(folder, texts=None):
    tokenizer_training.save(tokenizer_training.train_characters(texts or lines(50)), folder, CONTEXT)
    return tokenizer.load(folder)


def build(processor, kind="llama", dropout=0.0, seed=0, **changes):
    sizes = {"width": 32, "layers": 2, "heads": 2, "key_value_heads": 2, "feed_forward": 48, "tied": False}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return train.begin(SimpleNamespace(kind=kind, **sizes | changes), processor, CONTEXT, dropout)


def arrays(texts, processor, *, end=False):
    return encode.to_arrays(texts, processor, context=CONTEXT, end=end)
