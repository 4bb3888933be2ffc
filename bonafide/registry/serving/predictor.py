"""A trained model as a reader of raw texts, by evaluate's own code and so with evaluate's numbers.

A text goes the way of the texts that the model was judged on: personal data masked where validate masks it, the same
tokenizer and cut, batches sorted by length and packed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.datasets import ragged
from bonafide.pretrained import tokenizer
from bonafide.pretrained.model_files import check_model
from bonafide.project.arrays import Floats
from bonafide.project.errors import InputError
from bonafide.quality import pii
from bonafide.tasks.classification import model as own

Config = dict[str, Any]

REQUEST = 1_000_000  # characters of all its texts: some 30 s of work on 2 cores, half of MLflow's patience
DRIFT = 0.01  # of a probability: rounding to bf16, on a GPU, stays below; another tokenizer or cut does not


@dataclass(frozen=True)
class Reader:
    """A model folder and how its texts are treated."""

    labels: list[str]
    config: Config
    """`task`, `max_length`, `min_characters`, `max_characters` and `mask`, as params.yaml had them."""
    predict: Callable[[Sequence[str]], Floats]
    """Class probabilities, (n, classes) float64; one thread at a time."""


def load(folder: Path, config: Config) -> Reader:
    """Load a safetensors model; raise InputError where it is damaged or wants to run code of its own."""
    check_model(folder)
    processor = tokenizer.load(folder)
    model = own.load(folder)

    def predict(texts: Sequence[str]) -> Floats:
        masked = mask(texts) if config["mask"] else texts
        ids, _ = tokenizer.encode(masked, processor, config["max_length"])
        tokens = ragged.pack(ids, np.zeros(len(ids), dtype=np.int64), [""] * len(ids))
        return own.predict(model, tokens)["probabilities"]

    labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
    return Reader(labels, config, predict)


def mask(texts: Sequence[str]) -> list[str]:
    """What `personal.scan` makes of them: it looks through a million texts first, which costs 5 ms for a single one."""
    everywhere = np.ones((len(pii.KINDS), len(texts)), dtype=np.bool_)
    return pii.mask_rows((list(texts), everywhere))[0]


def made_up(folder: Path, texts: int = 16, words: int = 12) -> list[str]:
    """Random words of a model's vocabulary, the same for the same vocabulary."""
    processor = tokenizer.load(folder)
    ids = np.random.default_rng(0).integers(0, len(processor), (texts, words)).tolist()
    return [f"{processor.decode(row, skip_special_tokens=True)} {number}" for number, row in enumerate(ids)]


def drift(reader: Reader, texts: Sequence[str], expected: Any) -> float:
    """The largest difference between the probabilities that texts have now and the `expected` (n, classes)."""
    return float(np.abs(reader.predict(texts) - np.array(expected)).max(initial=0))


def refuse(texts: Sequence[Any], low: int, high: int) -> None:
    """Raise InputError that names the first row that is not a text of `low` to `high` characters, as validate asks."""
    if not texts:
        raise InputError("no texts")
    for row, text in enumerate(texts):
        reason = fault(text, low, high)
        if reason:
            raise InputError(f"row {row}: {reason}")
    total = sum(map(len, texts))
    if total > REQUEST:
        raise InputError(f"{total:,} characters are more than the {REQUEST:,} of a request: send several")


def fault(text: Any, low: int, high: int) -> str:
    """Why the model cannot judge a text, or nothing."""
    if not isinstance(text, str):
        return f"a text is wanted, not {'null' if text is None else type(text).__name__}"
    if not text.strip():
        return "the text is blank"
    if not low <= len(text) <= high:
        return f"the text has {len(text):,} characters: the model was judged on texts of {low:,} to {high:,}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair is no character"
    return ""
