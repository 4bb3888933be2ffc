"""Documents to tokens.

A split's arrays: `input_ids` (tokens,) int32 of all documents, end to end; `offsets` (documents + 1,); `ids`,
`characters` and `bytes` (of UTF-8) of each document's text; and `context` (1,), the tokens of a window.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bonafide.pretrained import base_tokenizer, tokenizer, tokenizer_training
from bonafide.project.arrays import Arrays, Metrics


def prepare(base: Path, train: pa.Table, params: Any, folder: Path) -> Any:
    """Keep the base model's tokenizer in `folder`/processor, or train one; return it.

    Raise InputError where params want longer windows than the base model has positions for.
    """
    section, processor = params.tokenize, folder / "processor"
    processor.mkdir(parents=True, exist_ok=True)
    if section.vocabulary == "base":
        base_tokenizer.keep(base, processor, "CAUSAL_LM", section.context, "context")
    else:
        texts = train["text"].to_pylist()
        made = (
            tokenizer_training.train_characters(texts)
            if section.vocabulary == "characters"
            else tokenizer_training.train_bpe(texts, section.vocabulary_size)
        )
        tokenizer_training.save(made, processor, section.context)
    return tokenizer.load(processor)


def encode(table: pa.Table, processor: Any, params: Any) -> tuple[Arrays, Metrics]:
    """A split's arrays; rows, tokens, characters, the longest document, and the share of unknown tokens."""
    section = params.tokenize
    arrays = to_arrays(table["text"].to_pylist(), processor, context=section.context, end=section.end)
    arrays["ids"] = np.array(table["id"].to_pylist(), dtype=np.str_)
    tokens = len(arrays["input_ids"])
    unknown = 0 if processor.unk_token_id is None else int((arrays["input_ids"] == processor.unk_token_id).sum())
    return arrays, {
        "rows": len(table),
        "tokens": tokens,
        "longest": int(np.diff(arrays["offsets"]).max(initial=0)),
        "characters": int(arrays["characters"].sum()),
        "unknown_rate": unknown / max(1, tokens),
    }


def to_arrays(texts: Sequence[str], processor: Any, *, context: int, end: bool) -> Arrays:
    """The arrays of texts, whose ids are their numbers; `end`: whether each ends with the end token."""
    found = processor(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    documents = [[*ids, processor.eos_token_id] for ids in found] if end else found
    offsets = np.append(0, np.cumsum([len(ids) for ids in documents])).astype(np.int64)
    return {
        "input_ids": np.fromiter((token for ids in documents for token in ids), dtype=np.int32, count=offsets[-1]),
        "offsets": offsets,
        "characters": np.array([len(text) for text in texts], dtype=np.int64),
        "bytes": np.array([len(text.encode()) for text in texts], dtype=np.int64),
        "ids": np.arange(len(texts)).astype(np.str_),
        "context": np.array([context]),
    }
