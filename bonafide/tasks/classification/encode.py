"""Texts to token ids, labels to the numbers of classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bonafide.datasets.ragged import pack
from bonafide.pretrained import base_tokenizer, tokenizer
from bonafide.project.arrays import Arrays, Ints, Metrics
from bonafide.project.files import write_json


def prepare(base: Path, train: pa.Table, params: Any, folder: Path) -> Any:  # noqa: ARG001
    """Keep the base model's tokenizer in `folder`/processor, and the labels in labels.json; return the tokenizer.

    Raise InputError where params want longer texts than the base model has positions for.
    """
    processor = folder / "processor"
    base_tokenizer.keep(base, processor, "SEQUENCE_CLASSIFICATION", params.tokenize.max_length)
    write_json(folder / "labels.json", params.task.labels)
    return tokenizer.load(processor)


def encode(table: pa.Table, processor: Any, params: Any) -> tuple[Arrays, Metrics]:
    """Token ids and class of each row; rows, tokens, truncated rows, the longest, and the share of unknown tokens."""
    texts, lengths = tokenizer.encode(table["text"].to_pylist(), processor, params.tokenize.max_length)
    classes = {label: index for index, label in enumerate(params.task.labels)}
    labels: Ints = np.array([classes[label] for label in table["label"].to_pylist()], dtype=np.int64)
    tokens = pack(texts, labels, table["id"].to_pylist())
    unknown = int((tokens.input_ids == processor.unk_token_id).sum()) if processor.unk_token_id is not None else 0
    return tokens.arrays, {
        "rows": len(tokens),
        "tokens": len(tokens.input_ids),
        "truncated": int((lengths > params.tokenize.max_length).sum()),
        "longest": int(lengths.max(initial=0)),
        "unknown_rate": unknown / max(1, len(tokens.input_ids)),
    }
