"""What a translation model has to beat: its own base, the nearest sentence that was ever translated, single words."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bonafide.datasets.language import WORD, is_spaceless
from bonafide.pretrained.model_files import is_there
from bonafide.project.arrays import Floats, Ints
from bonafide.project.paths import BASE_MODEL
from bonafide.protocol import Outputs, Split, System
from bonafide.tasks.translation import model
from bonafide.tasks.translation.score import FIELDS

BASELINES = (
    System("base", "the base model", "the base model as it came"),
    System("nearest", "nearest neighbour", "the translation of the most similar sentence of train"),
    System("words", "word by word", "the likeliest translation of each word, by IBM model 1"),
    System("copy", "copying", "the source as it is"),
)
REFERENCE = "nearest"  # nothing has been learned of a language where sentences are looked up
ROUNDS = 5  # of EM
MAX_LINKS = 30_000_000  # of a word to each of the translation's: 1 GB
BLOCK = 256  # rows whose similarity to all of train is held at once


def predict(splits: Mapping[str, Split], params: Any) -> dict[str, dict[str, Outputs]]:  # noqa: ARG001
    """Each baseline's translations (n,) of each split but train; `base` is there where there is a base model."""
    texts = {name: split.table["source"].to_pylist() for name, split in splits.items()}
    train, targets = texts.pop("train"), splits["train"].table["target"].to_pylist()
    nearest, words = Nearest(train, targets), Words(train, targets)
    systems = {"nearest": nearest_neighbours, "words": word_by_word, "copy": copy}
    found = {
        system: {name: as_outputs(translate(rows)) for name, rows in texts.items()}
        for system, translate in systems.items()
    }
    if is_there(BASE_MODEL):
        base = model.load(BASE_MODEL)
        found["base"] = {name: model.predict(base, splits[name].examples) for name in texts}
    return found
