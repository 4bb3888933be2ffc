"""Translators and language models in the engine: what a task brings, in a few lines each."""

import copy
import types
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from bonafide.datasets.ragged import Tokens
from bonafide.engine.engine import Engine
from bonafide.engine.process_group import ProcessGroup
from bonafide.forward import language_modelling, pairs, token_losses
from bonafide.forward.packing import token_indices
from tests.tiny_engines import RECIPE, digest, random_tokens
from tests.tiny_language_models import CAUSAL, TRANSLATORS, build_language_model, build_translator, random_pairs

TIED = {"tie_word_embeddings": True}
KINDS = {  # with heads of eight rows, of widths that leave no rest to the elementwise kernels
    "marian": partial(build_translator, "marian", encoder_ffn_dim=64, decoder_ffn_dim=64),
    "bart": partial(build_translator, "bart", encoder_ffn_dim=64, decoder_ffn_dim=64),
    "t5": partial(build_translator, "t5", d_ff=64),
    "gpt2": partial(build_language_model, "gpt2", intermediate_size=64),
    "llama": partial(build_language_model, "llama", intermediate_size=64),
    "qwen3": partial(build_language_model, "qwen3", intermediate_size=64, **TIED),
    "bert": partial(build_language_model, "bert", intermediate_size=64),
    "bert, next sentence": partial(build_language_model, "bert", "PreTraining", intermediate_size=64),
    "modernbert": partial(build_language_model, "modernbert", intermediate_size=64, tie_word_embeddings=True),
}


@dataclass(frozen=True)
class Corpus:
    """Texts whose tokens are predicted from those before, or every third one from the others."""

    tokens: Tokens
    causal: bool

    def __len__(self):
        return len(self.tokens)

    @property
    def lengths(self):
        return self.tokens.lengths

    def is_counted(self, rows):
        at = token_indices(self.tokens, rows)
        return ~np.isin(at, self.tokens.offsets[1:] - 1) if self.causal else at % 3 == 0

    @property
    def units(self):
        counted = self.is_counted(np.arange(len(self)))
        return np.add.reduceat(counted.astype(np.int64), self.tokens.offsets[:-1])


def collate(corpus, rows, model):
    at, counted = token_indices(corpus.tokens, rows), corpus.is_counted(rows)
    targets = corpus.tokens.input_ids[at[counted] + corpus.causal]
    ids, lengths, labels = corpus.tokens.input_ids[at], corpus.lengths[rows], corpus.tokens.labels[rows] % 2
    return language_modelling.make_batch(model, ids, lengths, counted, targets, labels=labels)


def loss(outputs, batch):
    found = token_losses.cross_entropy(outputs, batch)
    of_texts = getattr(outputs, "seq_relationship_logits", None)
    if of_texts is None:
        return found
    return found + torch.nn.functional.cross_entropy(of_texts.float(), batch.labels, reduction="none")


def same(examples, _seed, _epoch):
    return examples


TASKS = {
    "pairs": types.SimpleNamespace(
        enable=pairs.enable, collate=pairs.make_batch, loss=token_losses.cross_entropy, at_epoch=same
    ),
    "texts": types.SimpleNamespace(enable=language_modelling.enable, collate=collate, loss=loss, at_epoch=same),
}


def task_of(kind):
    return TASKS["pairs" if kind in TRANSLATORS else "texts"]


def build_examples(kind, n=19, seed=0):
    return random_pairs(n, seed) if kind in TRANSLATORS else Corpus(random_tokens(n, seed), causal=kind in CAUSAL)


def build_network(kind, model, examples, group=None, **changes):
    return Engine(
        model, examples, task_of(kind), replace(RECIPE, **changes), group or ProcessGroup(), lambda _: nullcontext()
    )


def train(kind, model, examples, steps, group=None, **changes):
    """The model's weights as a hash after so many steps; the model itself is left as it is."""
    engine = build_network(kind, copy.deepcopy(model), examples, group, **changes)
    losses = [float(step.loss) for step, _ in zip(engine.steps(), range(steps), strict=False)]
    return digest(engine.model), losses
