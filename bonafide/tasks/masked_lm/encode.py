"""Documents to tokens, cut into texts that a model can take, and which of them evaluation hides.

The arrays of a split are those of datasets.masked_texts.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bonafide.datasets.masking import Tokens, choose
from bonafide.pretrained import base_tokenizer, tokenizer, tokenizer_training
from bonafide.project.arrays import Arrays, Bools, Ints, Metrics
from bonafide.project.randomness import hashed_keys

SPECIAL = 2  # tokens around a text; three where it has two parts
SENTENCE_END = re.compile(r"[\n.!?。！？…]\W*$")
EVALUATION = 0  # the key of evaluation's draws: of no seed, so that all systems and revisions see the same


def prepare(base: Path, train: pa.Table, params: Any, folder: Path) -> Any:
    """Keep the base model's tokenizer in `folder`/processor, or train one; return it.

    Raise InputError where params want longer texts than the base model has positions for.
    """
    section, processor = params.tokenize, folder / "processor"
    if section.vocabulary == "base":
        base_tokenizer.keep(base, processor, "MASKED_LM", section.max_length)
    else:
        texts = train["text"].to_pylist()
        made = (
            tokenizer_training.train_characters(texts, masks=True)
            if section.vocabulary == "characters"
            else tokenizer_training.train_bpe(texts, section.vocabulary_size, masks=True)
        )
        tokenizer_training.save(made, processor, section.max_length)
    return tokenizer.load(processor)


def encode(table: pa.Table, processor: Any, params: Any) -> tuple[Arrays, Metrics]:
    """A split's arrays; documents, tokens, texts, the longest document, and the share of unknown tokens."""
    arrays = to_arrays(table["text"].to_pylist(), table["id"].to_pylist(), processor, params.tokenize)
    tokens = arrays["input_ids"]
    unknown = 0 if processor.unk_token_id is None else int((tokens == processor.unk_token_id).sum())
    return arrays, {
        "rows": len(table),
        "tokens": len(tokens),
        "texts": len(arrays["texts"]) - 1,
        "longest": int(np.diff(arrays["offsets"]).max(initial=0)),
        "unknown_rate": unknown / max(1, len(tokens)),
    }


def to_arrays(documents: Sequence[str], ids: Sequence[str], processor: Any, section: Any) -> Arrays:
    """Documents as the module describes; `section` is params.yaml's `tokenize`."""
    tokens = processor(list(documents), add_special_tokens=False, verbose=False)["input_ids"]
    offsets = np.append(0, np.cumsum([len(document) for document in tokens])).astype(np.int64)
    flat = np.fromiter((token for document in tokens for token in document), dtype=np.int32, count=offsets[-1])
    hideable = ~np.isin(flat, processor.all_special_ids)
    keys, owner = hashed_keys(documents, EVALUATION), np.repeat(np.arange(len(documents)), np.diff(offsets))
    room = section.max_length - SPECIAL - section.next_sentence
    arrays: Arrays = {
        "input_ids": flat,
        "offsets": offsets,
        "texts": cut(offsets, room),
        "hideable": hideable,
        "hidden": choose(keys[owner], np.arange(len(flat)) - offsets[owner], offsets, hideable, section.evaluated),
        "special": special(processor),
        "shares": np.array([section.mlm_probability, section.mask_replace_prob, section.random_replace_prob]),
        "keys": keys,
        "ids": np.array(ids, dtype=np.str_),
    }
    return arrays | ({"ends": sentence_ends(flat, processor)} if section.next_sentence else {})


def special(processor: Any) -> Ints:
    """The token before a text, the one behind it, the mask, and how many tokens there are."""
    known = processor.cls_token_id, processor.sep_token_id, processor.mask_token_id, len(processor)
    return np.array(known, dtype=np.int64)


def cut(offsets: Ints, room: int) -> Ints:
    """Where texts of at most `room` tokens begin, (m + 1,): each document in as few as will do, of like lengths."""
    lengths = np.diff(offsets)
    counts = -(-lengths // room)
    document = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.append(offsets[document] + number * lengths[document] // counts[document], offsets[-1])


def sentence_ends(tokens: Tokens, processor: Any) -> Bools:
    """Whether a sentence ends with each token, by what is written for it."""
    known, places = np.unique(tokens, return_inverse=True)
    ends = [bool(SENTENCE_END.search(processor.decode([token]))) for token in known.tolist()]
    return np.array(ends, dtype=np.bool_)[places]
