"""Train a translator: from nothing, as Marian's Transformer, or a pretrained encoder-decoder further.

The loss of a target token is the cross-entropy against its smoothed distribution (torch's: 1 - s on the token, and s
shared by all tokens alike); the best epoch is that of the fewest nats a token of validation, unsmoothed.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from bonafide.datasets import ragged
from bonafide.datasets.language import cutter
from bonafide.forward.pairs import Pairs, enable
from bonafide.forward.pairs import make_batch as collate
from bonafide.forward.token_losses import cross_entropy
from bonafide.generation.beam import best
from bonafide.pretrained import heads, tokenizer
from bonafide.pretrained.model_files import is_there
from bonafide.project.arrays import Floats, Metrics
from bonafide.project.errors import InputError
from bonafide.project.paths import BASE_MODEL, MODEL, TOKENIZED
from bonafide.project.randomness import generator
from bonafide.tasks.translation.model import Translator, hypotheses, outputs, sources, stock
from bonafide.training.fit import fit

__all__ = ["at_epoch", "build", "collate", "enable", "examples", "outputs", "stock", "train", "validation_metrics"]

PARALLEL = True
CRITERION = "nats_per_token"
HIGHER_IS_BETTER = False
HEAD = "SEQ_TO_SEQ_CAUSAL_LM"


def train(params: Any, *, state: Path) -> Metrics:
    """Train with the engine, then choose how translations are searched for; the best epoch's validation metrics."""
    network = vars(sys.modules[__name__]) | {"loss": partial(cross_entropy, smoothing=params.train.label_smoothing)}
    return fit(SimpleNamespace(**network), params, state, partial(choose_length_penalty, params))


def examples(folder: Path) -> Pairs:
    """One tokenized split."""
    return Pairs(**ragged.read(folder))


def at_epoch(split: Pairs, seed: int, epoch: int) -> Pairs:  # noqa: ARG001
    """The same pairs in every epoch."""
    return split


def validation_metrics(split: Pairs, found: Floats) -> Metrics:
    """Nats a target token, and the share of them that were the first guess, of `outputs` (n, 2)."""
    nats, hits = found.sum(axis=0) / split.units.sum()
    return {"nats_per_token": float(nats), "token_accuracy": float(hits)}


def build(params: Any) -> Any:
    """A fresh model, or the base model, fp32, with how it starts, ends and searches in its generation_config."""
    from transformers import GenerationConfig

    processor = tokenizer.load(TOKENIZED / "processor")
    new = params.train.architecture
    if is_there(BASE_MODEL) != (new is None):
        raise InputError("models/base: not what params.yaml says of train.architecture: run dvc repro")
    dropout = params.train.dropout
    model = from_nothing(new, len(processor), dropout) if new else heads.pretrained(BASE_MODEL, HEAD, dropout)[0]
    before, behind = frame(processor)
    if behind is not None:
        model.config.decoder_start_token_id = behind
    model.generation_config = GenerationConfig(
        num_beams=params.train.decoding.beams,
        length_penalty=params.train.decoding.length_penalties[0],
        early_stopping=True,  # a source is done when as many translations have ended as it has beams
        max_new_tokens=processor.model_max_length,
        pad_token_id=model.config.pad_token_id,
        eos_token_id=processor.eos_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
        forced_bos_token_id=before,
        suppress_tokens=[model.config.pad_token_id],
    )
    return model


def frame(processor: Any) -> tuple[int | None, int | None]:
    """What every target has before its first token, and behind its end, where it has that: codes of languages.

    M2M100 and mBART of 50 languages are given the former's code for their first token, and mBART of 25 starts with it.
    """
    ids = processor(text_target="")["input_ids"]
    end = ids.index(processor.eos_token_id)
    return ids[0] if end else None, ids[end + 1] if ids[end + 1 :] else None


def from_nothing(sizes: Any, vocabulary: int, dropout: float) -> Any:
    """Marian's Transformer with random weights: one table for source, target and output, pad 0, eos 1, start = pad.

    The table's deviation stays at transformers' 0.02, by which a fresh model's loss is the logarithm of its vocabulary.
    With the usual width^-0.5 the stream, which small layers hardly change yet, is most like the token that was read,
    and the loss of one of width 512 is twice that.
    """
    from transformers import MarianConfig, MarianMTModel

    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("layers", sizes.layers),
            ("attention_heads", sizes.heads),
            ("ffn_dim", sizes.feed_forward),
        )
    }
    config = MarianConfig(
        vocab_size=vocabulary,
        decoder_vocab_size=vocabulary,
        d_model=sizes.width,
        max_position_embeddings=sizes.positions,
        activation_function="relu",
        scale_embedding=True,
        attention_dropout=0.0,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        decoder_start_token_id=0,
        forced_eos_token_id=None,
        **sides,
    )
    heads.set_dropout(config, dropout)
    return MarianMTModel(config)


def choose_length_penalty(params: Any) -> Metrics:
    """Choose among params' the penalty by which rows of validation have the best BLEU; keep it in the model.

    It is chosen here and not in evaluate, so that whoever loads the model translates as it was judged. One search
    serves all penalties: what it finds depends on none. BLEU is of words, or of characters in scripts without spaces.
    """
    decoding, split = params.train.decoding, examples(TOKENIZED / "validation")
    if len(decoding.length_penalties) == 1:
        return {}
    rows = np.sort(generator(params.seed, "length penalty").permutation(len(split))[: decoding.tried_rows])
    translator, tried = Translator(stock(MODEL), tokenizer.load(MODEL)), split.take(rows)
    found = hypotheses(translator.model, sources(tried))
    truth = translator.read(np.split(tried.target_ids, tried.target_offsets[1:-1]))
    scores = {
        penalty: bleu(translator.read([best(one, penalty).tokens for one in found]), truth)
        for penalty in decoding.length_penalties
    }
    chosen = max(scores, key=scores.__getitem__)
    translator.model.generation_config.length_penalty = chosen
    translator.model.generation_config.save_pretrained(MODEL)
    return {"train/length_penalty": chosen, **{f"train/bleu/{k:g}": v for k, v in scores.items()}}


def bleu(written: Sequence[str], truth: Sequence[str]) -> float:
    """BLEU of a corpus; training has one of its own, so that it does not depend on how a model is scored."""
    from sacrebleu.metrics.bleu import BLEU

    cut = cutter(truth)
    ours, theirs = ([" ".join(cut(text)) for text in texts] for texts in (written, truth))
    return float(BLEU(tokenize="none").corpus_score(ours, [theirs]).score)
