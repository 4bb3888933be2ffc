"""Where a masked language model errs: by how common a token is and where it stands, and text by text."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from bonafide.datasets import ragged
from bonafide.datasets.masked_texts import SHOWN, Texts, for_evaluation
from bonafide.evaluation.panels import Panel
from bonafide.evaluation.slices import Named, number_names
from bonafide.pretrained import tokenizer
from bonafide.project.arrays import Floats, Ints
from bonafide.project.paths import MODEL, TOKENIZED
from bonafide.protocol import Outputs, Split
from bonafide.tasks.masked_lm.model import Told, load, tell

FREQUENCIES = (1, 10, 100, 1000, 10_000)  # in train: where the next slice begins
PLACES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # in a text
KEPT = 100  # documents; the report shows fewer
TOKENS = 12  # hidden ones of a document in a line
LEAST = 3  # hidden tokens of a document that is called hard
HIDDEN = "▢"


def slices(split: Split) -> Mapping[str, Named]:
    """By length in tokens."""
    return {"length": number_names(np.diff(split.examples["offsets"]).astype(np.float64))}


def panels(split: Split, outputs: Outputs, sums: Any, params: Any) -> list[Panel]:  # noqa: ARG001
    """By frequency, by place, some documents as they come, and the hardest ones."""
    texts, processor = for_evaluation(split.examples), tokenizer.load(MODEL)
    told = tell(load(MODEL), texts)
    counts = np.bincount(ragged.read(TOKENIZED / "train")["input_ids"], minlength=len(processor))
    places = np.flatnonzero(texts.targets != SHOWN)
    text = np.searchsorted(texts.offsets, places, side="right") - 1
    each = outputs["nats"] / np.maximum(outputs["masked"], 1)
    any_order = np.argsort(split.examples["keys"], kind="stable")
    hardest = np.flatnonzero(outputs["masked"] >= LEAST)
    hardest = hardest[np.argsort(-each[hardest], kind="stable")]
    shown = Shown(texts, told, processor)
    return [
        by_number("By how often train has the token", "Times", counts[texts.targets[places]], FREQUENCIES, told),
        by_number("By place in the text", "Place", places - texts.offsets[text], PLACES, told),
        documents("Hidden tokens", "Some documents, drawn by chance", any_order[:KEPT], split, each, shown),
        documents("The hardest documents", "Most nats a hidden token", hardest[:KEPT], split, each, shown),
    ]


def by_number(title: str, name: str, numbers: Ints, edges: Sequence[int], told: Told) -> Panel:
    """Hidden tokens sliced by a number of each, (h,)."""
    at = np.searchsorted(edges, numbers, side="right")
    between = (f"{low:,} to {high - 1:,}" if high - low > 1 else f"{low:,}" for low, high in pairwise(edges))
    ends = [f"below {edges[0]:,}", *between, f"{edges[-1]:,} and more"]
    rows = [
        [ends[slot], int(chosen.sum()), float(told.nats[chosen].mean()), float(told.hits[chosen].mean())]
        for slot in range(len(ends))
        if (chosen := at == slot).any()
    ]
    return {
        "kind": "table",
        "title": title,
        "caption": "Nats a hidden token, and the share of them whose first guess is right",
        "columns": [
            {"title": name, "kind": "name"},
            {"title": "Hidden tokens", "kind": "count"},
            {"title": "Nats", "kind": "score"},
            {"title": "Right", "kind": "percent"},
        ],
        "rows": rows,
    }


class Shown(NamedTuple):
    """What the examples are drawn from."""

    texts: Texts
    told: Told
    processor: Any


def documents(title: str, caption: str, rows: Ints, split: Split, each: Floats, shown: Shown) -> Panel:
    """Documents `rows`: the first text of each, what is hidden in it, and what the model says stands there."""
    ids = split.table["id"].to_pylist()
    firsts = np.searchsorted(shown.texts.documents, rows)
    return {
        "kind": "samples",
        "title": title,
        "caption": f"{caption}; {HIDDEN} is hidden. Guesses with their probabilities, those that are right in brackets",
        "columns": [
            {"title": "Text", "kind": "text"},
            {"title": "Hidden", "kind": "text"},
            {"title": "Guessed", "kind": "text"},
            {"title": "Nats", "kind": "score"},
        ],
        "ids": [ids[row] for row in rows.tolist()],
        "rows": [
            [*quote(shown, text), float(each[row])] for row, text in zip(rows.tolist(), firsts.tolist(), strict=True)
        ],
    }


def quote(shown: Shown, text: int) -> tuple[str, str, str]:
    """A text up to its twelfth hidden token, the hidden ones, and the first guess for each."""
    texts, told, processor = shown
    start, end = texts.offsets[text], texts.offsets[text + 1]
    targets = texts.targets[start:end]
    places = np.flatnonzero(targets != SHOWN)[:TOKENS]
    first = int(texts.units[:text].sum())
    guesses = [
        f"[{word}]" if guess == truth else f"{word} {probability:.0%}"
        for guess, probability, truth in zip(
            told.guesses[first:, 0], told.probabilities[first:, 0], targets[places], strict=False
        )
        for word in [written(processor, guess)]
    ]
    seen = (
        texts.input_ids[start + 1 : end - 1]
        if len(places) < TOKENS
        else texts.input_ids[start + 1 : start + places[-1] + 1]
    )
    words = written(processor, seen).replace(processor.mask_token, HIDDEN)
    return words, " · ".join(written(processor, token) for token in targets[places]), " · ".join(guesses)


def written(processor: Any, tokens: Any) -> str:
    """Tokens as people read them."""
    return str(processor.decode(np.atleast_1d(tokens).tolist()))
