"""How a masked language model is measured, by what it says of the tokens that are hidden from it.

Outputs are (n,) of FIELDS: of a document the nats of its hidden tokens, how many those are, how many have the truth as
first guess; and of its pairs of parts how many were told right, and how many there are.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.datasets.masked_texts import FIELDS
from bonafide.evaluation.statistics import ratio
from bonafide.project.arrays import Floats
from bonafide.project.files import read_json
from bonafide.project.paths import TOKENIZED
from bonafide.protocol import Facts, Metric, Outputs, Targets

METRICS = (
    Metric("nats_per_token", "nats a masked token", higher_is_better=False, unit="nats"),
    Metric("token_accuracy", "masked-token accuracy", higher_is_better=True),
    Metric("next_accuracy", "next-sentence accuracy", higher_is_better=True),
)
RATE = None
TARGET = "text"


def settings(params: Any) -> Facts:
    """What a token is and how many are hidden: nats a token of one vocabulary say nothing of those of another.

    Of a base model's the MD5 of its tokens; those that are made of train follow it and are compared as of one kind.
    """
    tokenize = params.tokenize
    if tokenize.vocabulary == "base":
        vocabulary = f"of a base model, {vocabulary_md5(TOKENIZED / 'processor/tokenizer.json')}"
    else:
        vocabulary = tokenize.vocabulary + f" of {tokenize.vocabulary_size:,}" * (tokenize.vocabulary == "bpe")
    return {"vocabulary": vocabulary, "share of hidden tokens": tokenize.evaluated}


def comparable(outputs: Outputs, settings: Facts) -> tuple[Outputs, Facts]:
    """As they are."""
    return outputs, settings


def vocabulary_md5(path: Path) -> str:
    """Of a tokenizer's tokens with their ids or weights, whatever else its file says."""
    vocabulary = read_json(path)["model"]["vocab"]
    return hashlib.md5(json.dumps(vocabulary, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def row_sums(targets: Targets, outputs: Outputs, settings: Facts) -> Floats:  # noqa: ARG001
    """The fields, (n, 5); raise ValueError unless they are numbers of 0 or more."""
    if not set(FIELDS) <= set(outputs.dtype.names or ()):
        raise ValueError("no sums over hidden tokens")
    sums: Floats = np.stack([outputs[name] for name in FIELDS], axis=1).astype(np.float64)
    if not (np.isfinite(sums).all() and (sums >= 0).all()):
        raise ValueError("no sums over hidden tokens")
    return sums


def metrics(sums: Floats, settings: Facts) -> dict[str, Floats]:  # noqa: ARG001
    """Each metric (...) of sums (..., 5); NaN where nothing is hidden, or there is no pair."""
    nats, masked, hits, next_hits, next_pairs = (sums[..., column] for column in range(5))
    return {
        "nats_per_token": ratio(nats, masked),
        "token_accuracy": ratio(hits, masked),
        "next_accuracy": ratio(next_hits, next_pairs),
    }
