"""What a language model writes, whether it recites, and where it is surprised."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bonafide.datasets import ragged
from bonafide.datasets.windows import Windows, for_evaluation
from bonafide.evaluation import ngrams
from bonafide.evaluation.estimates import Sums
from bonafide.evaluation.panels import Panel, columns
from bonafide.evaluation.slices import Named, number_names
from bonafide.pretrained import tokenizer
from bonafide.project.arrays import Floats, Ints
from bonafide.project.paths import MODEL, TOKENIZED, VALIDATED
from bonafide.protocol import Outputs, Split
from bonafide.tasks.causal_lm.model import load, start_of, surprise

KEPT = 200  # of the hardest documents; the report shows fewer
ORDER = 5  # of the n-grams by whose novelty documents are sliced
STRETCH = 20  # characters in a row that are hardly written twice by chance
WINDOWS = 256  # whose tokens are told apart by what stands before them
COMPARED = 8  # held-out texts beside the samples


def slices(split: Split) -> Mapping[str, Named]:
    """By length in tokens, and by the share of 5-grams that train lacks."""
    train, own = ragged.read(TOKENIZED / "train"), split.examples
    (known, known_offsets), (ids, offsets) = ((np.asarray(a["input_ids"]), a["offsets"]) for a in (train, own))
    vocabulary = int(max(known.max(), ids.max())) + 1
    model = ngrams.fit(known.astype(np.int64), known_offsets, vocabulary, ORDER)
    is_new = ~ngrams.is_known(model, ids.astype(np.int64), offsets)[-1]
    lengths = np.diff(offsets).astype(np.float64)
    novelty = ngrams.per_document(is_new.astype(np.float64), offsets) / lengths
    return {"length": number_names(lengths), f"new {ORDER}-grams": number_names(np.round(novelty, 3))}


def panels(split: Split, outputs: Outputs, sums: Sums, params: Any) -> list[Panel]:  # noqa: ARG001
    """Samples and whether they recite, if any are asked for; surprise by what is seen, and the hardest documents."""
    written = write(params.evaluate.samples, int(split.examples["context"][0]))
    asked = writing(written, params.evaluate.samples.seeds, split.table["text"].to_pylist()) if written else []
    return [*asked, by_context(for_evaluation(split.examples)), hardest(split, outputs)]


def writing(written: Sequence[str], seeds: Sequence[int], texts: Sequence[str]) -> list[Panel]:
    """What the model writes, and how much of it stands in train, beside some of the held-out texts."""
    train = "\n\n".join(pq.read_table(VALIDATED / "train.parquet", columns=["text"])["text"].to_pylist())
    names, longest = [f"seed {seed}" for seed in seeds], max(map(len, written))
    held_out = [texts[row][:longest] for row in np.unique(np.linspace(0, len(texts) - 1, COMPARED).astype(int))]
    return [samples(names, written, train), recital(names, written, held_out, train)]


def write(section: Any, context: int) -> tuple[str, ...]:
    """What the model writes, by each seed."""
    options = (section.prompt, tuple(section.seeds), section.tokens, section.temperature, section.top_p)
    return _write(*options, context)


@lru_cache(maxsize=1)  # the splits share it
def _write(
    prompt: str, seeds: tuple[int, ...], tokens: int, temperature: float, top_p: float, context: int
) -> tuple[str, ...]:
    from bonafide.generation.sampling import sample

    model, processor = load(MODEL), tokenizer.load(MODEL)
    start = [start_of(model), *processor(prompt, add_special_tokens=False)["input_ids"]]
    options: dict[str, Any] = {"tokens": tokens, "context": context, "temperature": temperature, "top_p": top_p}
    found = sample(model, [start] * len(seeds), seeds=seeds, **options)
    return tuple(prompt + processor.decode(ids, skip_special_tokens=True) for ids in found)


def samples(names: Sequence[str], written: Sequence[str], train: str) -> Panel:
    """What the model writes."""
    rows = [[text, name, longest_known(text, train)] for name, text in zip(names, written, strict=True)]
    return {
        "kind": "samples",
        "title": "What it writes",
        "caption": "From a document's start or the prompt, by the seeds of params.yaml; and how many characters in a "
        "row stand so in train",
        "columns": columns({"Text": "text", "Seed": "name", "In train": "count"}),
        "ids": list(names),
        "rows": rows,
    }


def recital(names: Sequence[str], written: Sequence[str], held_out: Sequence[str], train: str) -> Panel:
    """How much of samples stands in train, beside as much of held-out texts."""
    rows = [
        [name, len(text), longest_known(text, train), share_known(text, train)]
        for name, text in [*zip(names, written, strict=True), *(("held-out text", text) for text in held_out)]
    ]
    return {
        "kind": "table",
        "title": "Does it recite?",
        "caption": f"Characters in a row that stand so in train, and the share of all stretches of {STRETCH} that do. "
        "A model that recites has more of both than people who wrote what is held out",
        "columns": columns(
            {"Of": "name", "Characters": "count", "Longest in train": "count", "Stretches in train": "percent"}
        ),
        "rows": rows,
    }


def longest_known(text: str, train: str) -> int:
    """The most characters in a row of a text that stand so in train."""
    longest = 0
    for first in range(len(text)):
        while first + longest < len(text) and text[first : first + longest + 1] in train:
            longest += 1
    return longest


def share_known(text: str, train: str) -> float:
    """The share of a text's stretches of STRETCH characters that stand so in train."""
    stretches = [text[first : first + STRETCH] for first in range(max(1, len(text) - STRETCH + 1))]
    return sum(stretch in train for stretch in stretches) / len(stretches)


def by_context(windows: Windows) -> Panel:
    """Bits a token, by how many tokens before it the model sees."""
    windows = windows.take(np.unique(np.linspace(0, len(windows) - 1, WINDOWS).astype(int)))
    seen = context_sizes(windows)
    places = np.floor(np.log2(seen[seen >= 0] + 1)).astype(np.int64)
    nats = surprise(load(MODEL), windows)[seen >= 0]
    tokens, sums = np.bincount(places), np.bincount(places, weights=nats)
    edges = [(2**place - 1, min(2 ** (place + 1) - 2, windows.context - 1)) for place in range(len(tokens))]
    return {
        "kind": "table",
        "title": "By what it sees",
        "caption": f"Of {len(windows):,} windows. Each token is predicted once, from at least {windows.context // 2:,} "
        "tokens before it, or from all of its document",
        "columns": columns({"Tokens before": "name", "Tokens": "count", "Bits a token": "score"}),
        "rows": [
            [f"{low:,} to {high:,}" if high > low else f"{low:,}", int(n), float(total / n / np.log(2))]
            for (low, high), n, total in zip(edges, tokens, sums, strict=True)
            if n
        ],
    }


def context_sizes(windows: Windows) -> Ints:
    """(tokens,) how many tokens before each one its window has, -1 for those that none counts."""
    sizes = np.full(len(windows.input_ids), -1)
    rows = np.arange(len(windows))
    positions, within = windows.positions(rows)
    counted = windows.is_counted(positions, rows)
    sizes[positions[counted]] = within[counted]
    return sizes


def hardest(split: Split, outputs: Outputs) -> Panel:
    """The documents with the most bits a character, highest first; ties by id."""
    ids, texts = split.table["id"].to_pylist(), split.table["text"].to_pylist()
    bits: Floats = outputs["nats"] / np.log(2) / np.array([len(text) for text in texts])
    worst = sorted(range(len(ids)), key=lambda row: (-bits[row], ids[row]))[:KEPT]
    return {
        "kind": "samples",
        "title": "The hardest texts",
        "caption": "Those with the most bits a character",
        "columns": columns({"Text": "text", "Characters": "count", "Bits a character": "score"}),
        "ids": [ids[row] for row in worst],
        "rows": [[texts[row], len(texts[row]), float(bits[row])] for row in worst],
    }
