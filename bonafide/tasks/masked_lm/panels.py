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
HIDDEN, SEPARATOR = "▢", " · "


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
    any_order = any_order[outputs["masked"][any_order] > 0]
    hardest = np.flatnonzero(outputs["masked"] >= LEAST)
    hardest = hardest[np.argsort(-each[hardest], kind="stable")]
    shown = Shown(texts, told, processor)
    return [
        by_number("By how often train has the token", "Times", counts[texts.targets[places]], FREQUENCIES, told),
        by_number("By place in the text", "Place", places - texts.offsets[text], PLACES, told),
        documents("Masked tokens", "Some documents, drawn by chance", any_order[:KEPT], split, each, shown),
        documents("The hardest documents", "Most nats a masked token", hardest[:KEPT], split, each, shown),
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
        "caption": "Nats a masked token, and the share of them whose first guess is right",
        "columns": [
            {"title": name, "kind": "name"},
            {"title": "Masked tokens", "kind": "count"},
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
    known, firsts = np.unique(shown.texts.documents, return_index=True)
    texts = firsts[np.searchsorted(known, rows)]
    return {
        "kind": "samples",
        "title": title,
        "caption": f"{caption}; {HIDDEN} is masked. Guesses with their probabilities, those that are right in brackets",
        "columns": [
            {"title": "Text", "kind": "text"},
            {"title": "Masked", "kind": "text"},
            {"title": "Guessed", "kind": "text"},
            {"title": "Nats", "kind": "score"},
        ],
        "ids": [ids[row] for row in rows.tolist()],
        "rows": [
            [*quote(shown, text), float(each[row])] for row, text in zip(rows.tolist(), texts.tolist(), strict=True)
        ],
    }


def quote(shown: Shown, text: int) -> tuple[str, str, str]:
    """A text up to its twelfth hidden token, the hidden ones, and the first guess for each."""
    texts, told, processor = shown
    start, end = texts.offsets[text] + 1, texts.offsets[text + 1] - 1
    targets = texts.targets[start:end]
    places = np.flatnonzero(targets != SHOWN)
    if len(places) > TOKENS:
        places, end = places[:TOKENS], start + places[TOKENS]
    first = int(texts.units[:text].sum())
    truth = [written(processor, token) for token in targets[places].tolist()]
    best = zip(told.guesses[first:, 0].tolist(), told.probabilities[first:, 0].tolist(), truth, strict=False)
    guesses = [
        f"[{right}]" if written(processor, token) == right else say(processor, token, p) for token, p, right in best
    ]
    words = processor.decode(texts.input_ids[start:end].tolist())
    for token, mark in ((processor.mask_token, HIDDEN), (processor.sep_token, "‖")):
        words = words.replace(token, mark)
    return words, SEPARATOR.join(truth), SEPARATOR.join(guesses)


def say(processor: Any, token: int, probability: float) -> str:
    """A guess and its probability."""
    return f"{written(processor, token)} {probability:.0%}"


def written(processor: Any, token: int) -> str:
    """A token as people can see it."""
    return str(processor.decode([token])).replace(" ", "␣").replace("\n", "↵")
