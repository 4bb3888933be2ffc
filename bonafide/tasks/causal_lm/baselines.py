"""What a language model has to beat: its base, n-grams of the same tokens, a compressor, and knowing nothing."""

import bz2
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bonafide.evaluation import ngrams
from bonafide.pretrained import tokenizer
from bonafide.pretrained.model_files import is_there
from bonafide.project.arrays import Arrays, Floats, Ints
from bonafide.project.paths import BASE_MODEL, TOKENIZED
from bonafide.protocol import Outputs, Split, System
from bonafide.tasks.causal_lm import model as own

BASELINES = (
    System("base", "the base model", "the base model as it came"),
    System("kneser_ney", "Kneser-Ney", "counting n-grams, of the order that validation prefers"),
    System("bz2", "bz2", "compressing the text behind train's, and taking the difference"),
    System("unigram", "unigrams", "saying how common each token is"),
    System("uniform", "knowing nothing", "holding each of train's tokens, and one more, for as likely"),
)
BLOCK = 900_000  # bytes that bz2 looks through at once
PARTS = 32  # of a split, compressed one by one: each takes 0.1 s


def predict(splits: Mapping[str, Split], params: Any) -> dict[str, dict[str, Outputs]]:
    """Of each document of each split but train: nats, tokens, and hits, NaN where a system has no first guess."""
    vocabulary = len(tokenizer.load(TOKENIZED / "processor"))
    found = {name: documents(split.examples) for name, split in splits.items()}
    train = found["train"]
    counts = ngrams.fit(*train, vocabulary, params.evaluate.max_order)
    order = ngrams.best_order(counts, *found["validation"])
    known = "".join(splits["train"].table["text"].to_pylist()).encode()
    systems: dict[str, dict[str, Outputs]] = {system.name: {} for system in BASELINES[1:]}
    for name, (ids, offsets) in found.items():
        if name == "train":
            continue
        tokens = np.diff(offsets)
        surprise = ngrams.per_document(ngrams.nats(counts, ids, offsets), offsets)
        systems["kneser_ney"][name] = as_outputs(surprise[order - 1], tokens)
        systems["bz2"][name] = as_outputs(compressed(known, splits[name].table["text"].to_pylist()), tokens)
        hits = ngrams.per_document((ids == np.bincount(train[0]).argmax()).astype(np.float64), offsets)
        systems["unigram"][name] = as_outputs(surprise[0], tokens, hits)
        systems["uniform"][name] = as_outputs(tokens * np.log(len(np.unique(train[0])) + 1), tokens)
    return untrained(splits) | systems


def untrained(splits: Mapping[str, Split]) -> dict[str, dict[str, Outputs]]:
    """What the base model says, if there is one."""
    if not is_there(BASE_MODEL):
        return {}
    model = own.load(BASE_MODEL)
    return {"base": {name: own.predict(model, split.examples) for name, split in splits.items() if name != "train"}}


def documents(examples: Arrays) -> tuple[Ints, Ints]:
    """A split's tokens and offsets, int64."""
    return np.asarray(examples["input_ids"], dtype=np.int64), np.asarray(examples["offsets"])


def as_outputs(nats: Floats, tokens: Ints, hits: Floats | None = None) -> Outputs:
    """(documents,) of the model's fields."""
    found = np.empty(len(nats), dtype=[(name, np.float64) for name in ("nats", "tokens", "hits")])
    found["nats"], found["tokens"], found["hits"] = nats, tokens, np.nan if hits is None else hits
    return found


def compressed(known: bytes, texts: Sequence[str]) -> Floats:
    """Nats of each text: by how much bz2's output grows where texts stand behind what is known, as far as it looks.

    Neighbours are compressed together, PARTS of them, and share what they cost by their bytes.
    """
    coded = [text.encode() for text in texts]
    parts = [part for part in np.array_split(np.arange(len(texts)), PARTS) if len(part)]
    longest = max((sum(len(coded[row]) for row in part) for part in parts), default=0)
    before = known[-max(1, BLOCK - longest - BLOCK // 50) :]
    alone, nats = len(bz2.compress(before)), np.zeros(len(texts))
    for part in parts:
        sizes = np.array([len(coded[row]) for row in part], dtype=np.float64)
        grown = len(bz2.compress(before + b"".join(coded[row] for row in part))) - alone
        nats[part] = max(0, grown) * 8 * np.log(2) * sizes / max(1.0, sizes.sum())
    return nats
