"""How a language model is measured, by how little a text surprises it. Outputs are (n,) of FIELDS, of a document each.

The columns of the sums: nats of the document's tokens, how many those are, how many were the most likely ones (NaN for
a system that does not tell), and the bytes of UTF-8 and the characters of its text. What is compared is bits a
character or a byte: these do not depend on how a text is cut into tokens, as perplexity does.
"""

from typing import Any

import numpy as np

from bonafide.project.arrays import Floats
from bonafide.protocol import Facts, Metric, Outputs, Targets

FIELDS = ("nats", "tokens", "hits")

METRICS = (
    Metric("bits_per_character", "bits a character", higher_is_better=False, unit="bits a character"),
    Metric("bits_per_byte", "bits a byte", higher_is_better=False),
    Metric("nats_per_token", "nats a token", higher_is_better=False),
    Metric("token_accuracy", "share of tokens told", higher_is_better=True),
)
RATE = None
TARGET = "text"


def settings(params: Any) -> Facts:  # noqa: ARG001
    """None."""
    return {}


def comparable(outputs: Outputs, settings: Facts) -> tuple[Outputs, Facts]:
    """As they are."""
    return outputs, settings


def row_sums(targets: Targets, outputs: Outputs, settings: Facts) -> Floats:  # noqa: ARG001
    """What each document adds to the sums, (n, 5), from texts (n,); raise ValueError for other outputs."""
    if not set(FIELDS) <= set(outputs.dtype.names or ()):
        raise ValueError("no surprise at texts")
    nats, tokens, hits = (outputs[name].astype(np.float64) for name in FIELDS)
    if not (np.isfinite(nats).all() and (nats >= 0).all() and (tokens > 0).all()):
        raise ValueError("no surprise at texts")
    sizes = [(len(text.encode()), len(text)) for text in targets]
    return np.column_stack([nats, tokens, hits, np.array(sizes, dtype=np.float64).reshape(len(nats), 2)])


def metrics(sums: Floats, settings: Facts) -> dict[str, Floats]:  # noqa: ARG001
    """Each metric (...) of sums (..., 5)."""
    nats, tokens, hits, size, characters = (sums[..., column] for column in range(5))
    return {
        "bits_per_character": nats / np.log(2) / characters,
        "bits_per_byte": nats / np.log(2) / size,
        "nats_per_token": nats / tokens,
        "token_accuracy": hits / tokens,
    }
