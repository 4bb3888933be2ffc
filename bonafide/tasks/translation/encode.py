"""Pairs of texts to token ids: by a vocabulary that train's sources and targets share, or by a base model's own.

Arrays of a split of n pairs:

source_ids, target_ids          (tokens,) int32, one text after another, each with its end token
source_offsets, target_offsets  (n + 1,) int64, where each begins
ids                             (n,) of the rows
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bonafide.datasets.ragged import pack
from bonafide.pretrained import base_tokenizer, tokenizer, tokenizer_training
from bonafide.pretrained.model_files import read_object
from bonafide.project.arrays import Arrays, Ints, Metrics
from bonafide.project.errors import InputError
from bonafide.project.files import write_json

HEAD = "SEQ_TO_SEQ_CAUSAL_LM"


def prepare(base: Path, train: pa.Table, params: Any, folder: Path) -> Any:
    """Make a tokenizer from train, or keep the base model's, in `folder`/processor; return it.

    Raise InputError where the vocabulary is too small, or texts are to be longer than the base model takes.
    """
    section, processor = params.tokenize, folder / "processor"
    shutil.rmtree(processor, ignore_errors=True)
    if section.vocabulary == "base":
        base_tokenizer.keep(base, processor, HEAD, section.max_length)
        complete(processor, section.max_length, params.task.source_language, params.task.target_language)
        return tokenizer.load(processor)
    texts = [*train["source"].to_pylist(), *train["target"].to_pylist()]
    made = (
        tokenizer_training.train_characters(texts)
        if section.vocabulary == "characters"
        else tokenizer_training.train_bpe(texts, section.vocabulary_size)
    )
    tokenizer_training.save(made, processor, section.max_length)
    return tokenizer.load(processor)


def complete(folder: Path, max_length: int, source: str, target: str) -> None:
    """Write into tokenizer_config.json where texts are cut, and the languages, by the tokenizer's codes if it has such.

    The code of en is en_XX for mBART. Raise InputError where there are codes and none is of a language.
    """
    processor, path = tokenizer.load(folder), folder / "tokenizer_config.json"
    codes = list(getattr(processor, "lang_code_to_token", None) or getattr(processor, "lang_code_to_id", None) or ())
    languages = {"src_lang": source, "tgt_lang": target} if codes and hasattr(processor, "tgt_lang") else {}
    found: dict[str, Any] = {"model_max_length": max_length}
    for key, language in languages.items():
        fits = [code for code in codes if code.partition("_")[0] == language]
        if len(fits) != 1:
            raise InputError(f"base model: its tokenizer has no language {language!r}, but {', '.join(codes[:100])}")
        found[key] = fits[0]
    write_json(path, read_object(path) | found)


def encode(table: pa.Table, processor: Any, params: Any) -> tuple[Arrays, Metrics]:
    """A split's arrays; pairs, tokens, cut texts, the longest and the share of unknown tokens, of either side."""
    section = params.tokenize
    sources, long = encode_sources(table["source"].to_pylist(), processor, section.max_length, section.prefix)
    targets, far = encode_targets(table["target"].to_pylist(), processor, section.max_length)
    arrays = as_arrays(sources, targets, table["id"].to_pylist())
    facts: Metrics = {"rows": len(table)}
    for side, lengths in (("source", long), ("target", far)):
        ids = arrays[f"{side}_ids"]
        unknown = 0 if processor.unk_token_id is None else int((ids == processor.unk_token_id).sum())
        facts |= {
            f"{side}_tokens": len(ids),
            f"{side}_truncated": int((lengths > section.max_length).sum()),
            f"{side}_longest": int(lengths.max(initial=0)),
            f"{side}_unknown_rate": unknown / max(1, len(ids)),
        }
    return arrays, facts


def encode_sources(texts: Sequence[str], processor: Any, max_length: int, prefix: str) -> tuple[list[list[int]], Ints]:
    """Ids of each source, cut to `max_length`, and its uncut length (n,)."""
    return tokenizer.encode([prefix + text for text in texts], processor, max_length)


def encode_targets(texts: Sequence[str], processor: Any, max_length: int) -> tuple[list[list[int]], Ints]:
    """Ids of each target, cut to `max_length`, and its uncut length (n,); the end token is the last.

    What comes behind it is the code of a language that the decoder starts with (mBART of 25 languages), of which
    train's `frame` knows.
    """
    ids, lengths = tokenizer.encode_targets(texts, processor, max_length)
    end = processor.eos_token_id
    ended = [found[: found.index(end) + 1] if end in found else [*found[: max_length - 1], end] for found in ids]
    return ended, lengths


def as_arrays(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], ids: Sequence[str]) -> Arrays:
    """As the module describes."""
    none = np.zeros(len(ids), dtype=np.int64)
    source, target = pack(sources, none, ids), pack(targets, none, ids)
    return {
        "source_ids": source.input_ids,
        "source_offsets": source.offsets,
        "target_ids": target.input_ids,
        "target_offsets": target.offsets,
        "ids": source.ids,
    }
