"""Where a translator errs: by what a source is like, by what was lost, sentence by sentence; and where it looks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from bonafide.datasets.language import NEGATION, cutter
from bonafide.evaluation import ngrams
from bonafide.evaluation.estimates import Sums, estimate, sum_up
from bonafide.evaluation.panels import Panel, columns
from bonafide.evaluation.slices import Named, number_names
from bonafide.evaluation.statistics import percentile
from bonafide.forward.inference import load
from bonafide.project.arrays import Floats, Ints
from bonafide.project.paths import MODEL, VALIDATED
from bonafide.project.randomness import generator, hashed_uniform
from bonafide.protocol import Outputs, Split
from bonafide.tasks.translation.score import BLEU_SUMS, metrics, numerals, settings

YES_NO = ("yes", "no")
SHARES = ("none", "up to a fifth", "more")
KEPT = 200  # rows of a kind; the report shows fewer
LONGEST = 3.0  # times the reference's length; beyond is the last bar
BINS = 30
ORDER = 5  # characters
END = "\n"
PICTURES, PICTURED = 3, range(4, 17)  # how many, and how many tokens a side may have


def slices(split: Split) -> Mapping[str, Named]:
    """By length in tokens, by the share of words that train lacks, by whether a source has numbers and a negation."""
    sources = split.table["source"].to_pylist()
    return {
        "length": number_names(np.diff(split.examples["source_offsets"]).astype(np.float64)),
        "unseen words": (unseen(sources, of_train("source")), SHARES),
        "numbers": ([YES_NO[not numerals(text)] for text in sources], YES_NO),
        "negation": ([YES_NO[not NEGATION.search(text)] for text in sources], YES_NO),
    }


def of_train(side: str) -> list[str]:
    """The sources or targets that were trained on."""
    texts: list[str] = pq.read_table(VALIDATED / "train.parquet", columns=[side])[side].to_pylist()
    return texts


def unseen(texts: Sequence[str], train: Sequence[str]) -> list[str]:
    """Which of SHARES of each text's words train lacks, whatever their case."""
    cut = cutter(train)
    known = {word for text in train for word in cut(text.lower())}
    lacking = [[word not in known for word in cut(text.lower())] for text in texts]
    return [SHARES[0 if not any(words) else 1 if 5 * sum(words) <= len(words) else 2] for words in lacking]


def panels(split: Split, outputs: Outputs, sums: Sums, params: Any) -> list[Panel]:
    """What BLEU is made of, fluency, lengths, attention, and examples."""
    return [
        precisions(sums.total[BLEU_SUMS].tolist(), settings(params)["signatures"]),
        fluency(split, outputs, params),
        lengths(sums.rows[:, BLEU_SUMS]),
        *attention(split, params.seed),
        *examples(split, outputs, sums, params),
    ]


def precisions(sums: Sequence[float], signatures: Sequence[str]) -> Panel:
    """What BLEU is made of, (10,), and by which rules."""
    ours, theirs = sums[:2]
    rows = [[n, int(sums[1 + n]), int(sums[5 + n]), sums[1 + n] / max(1, sums[5 + n])] for n in (1, 2, 3, 4)]
    return {
        "kind": "table",
        "title": "BLEU by length of n-gram",
        "caption": f"The outputs have {ours:,.0f} tokens, the references {theirs:,.0f}, a ratio of "
        f"{ours / max(1, theirs):.3f}: with fewer, BLEU is less by exp(1 - references' / outputs'). "
        f"Compare by these signatures: {', '.join(signatures)}",
        "columns": columns({"Tokens": "count", "Matched": "count", "In the outputs": "count", "Precision": "percent"}),
        "rows": rows,
    }


def fluency(split: Split, outputs: Outputs, params: Any) -> Panel:
    """How usual the translations are as texts of their language, beside the references."""
    texts = {"The model's": outputs["text"].tolist(), "The references": split.table["target"].to_pylist()}
    groups, samples = split.table["group"].to_pylist(), params.evaluate.bootstrap_samples
    sums = sum_up(surprise(of_train("target"), texts), groups, samples, generator(params.seed, "fluency"))
    found = {name: estimate(float(each(one.total)), percentile(each(one.draws))) for name, one in sums.items()}
    return {
        "kind": "table",
        "title": "Fluency",
        "caption": f"Surprise at a character of a Kneser-Ney model of {ORDER} characters, fitted on train's targets: "
        "it knows nothing of the source. Below the references is what is more usual than people write",
        "columns": columns({"Translations": "name", "Nats a character": "estimate", "": "interval"}),
        "rows": [[name, one, one] for name, one in found.items()],
        "mark": float(each(sums["The references"].total)),
    }


def each(sums: Floats) -> Floats:
    """Nats a character (...) of sums (..., 2)."""
    found: Floats = sums[..., 0] / sums[..., 1]
    return found


def surprise(train: Sequence[str], texts: Mapping[str, Sequence[str]]) -> dict[str, Floats]:
    """Nats and characters of each text, (n, 2), by an n-gram model of train; a text's end is one of its characters."""
    alphabet = np.unique([*"".join(train), END])
    model = ngrams.fit(*character_ids(train, alphabet), len(alphabet) + 1, ORDER)
    found = {}
    for name, rows in texts.items():
        ids, offsets = character_ids(rows, alphabet)
        nats = ngrams.per_document(ngrams.nats(model, ids, offsets)[-1], offsets)
        found[name] = np.column_stack([nats, np.diff(offsets)])
    return found


def character_ids(texts: Sequence[str], alphabet: npt.NDArray[np.str_]) -> tuple[Ints, Ints]:
    """Places in the alphabet, the next number for what it lacks, end to end; and where each text begins."""
    letters = np.array([letter for text in texts for letter in (*text, END)])
    places = np.searchsorted(alphabet, letters).clip(max=len(alphabet) - 1)
    offsets = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return np.where(alphabet[places] == letters, places, len(alphabet)), offsets


def lengths(sums: Floats) -> Panel:
    """BLEU's tokens of each output for one of its reference's."""
    ratios = (sums[:, 0] / sums[:, 1].clip(min=1)).clip(max=LONGEST)
    counts, edges = np.histogram(ratios, bins=BINS, range=(0, LONGEST))
    return {
        "kind": "histogram",
        "title": "Length ratio",
        "caption": "Tokens of an output for each of its reference's; the last bar holds what is longer",
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def attention(split: Split, seed: int) -> list[Panel]:
    """Pictures of some short rows."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    sides = [(split.examples[f"{side}_ids"], split.examples[f"{side}_offsets"]) for side in ("source", "target")]
    short = np.logical_and(*(np.isin(np.diff(offsets), PICTURED) for _, offsets in sides))
    rows = [row for row in drawn(split, seed) if short[row]][:PICTURES]
    model = load(AutoModelForSeq2SeqLM, MODEL, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(MODEL, local_files_only=True)
    return [
        picture(model, tokenizer, *(ids[offsets[row] : offsets[row + 1]].tolist() for ids, offsets in sides))
        for row in rows
    ]


def picture(model: Any, tokenizer: Any, source: Sequence[int], target: Sequence[int]) -> Panel:
    """Cross attention before each token of the reference, the true ones before it given."""
    import torch

    inputs, labels = (torch.tensor([ids], device=model.device) for ids in (source, target))
    with torch.inference_mode():
        seen = model(input_ids=inputs, labels=labels, output_attentions=True).cross_attentions
    return {
        "kind": "matrix",
        "title": "Attention",
        "caption": "Where the decoder looks in the source (across) before each token of the reference (down), given "
        "those above it: the mean of all heads and layers",
        "names_x": [tokenizer.decode([token]) for token in source],
        "names_y": [tokenizer.decode([token]) for token in target],
        "values": torch.stack(seen).mean(dim=(0, 1, 2)).tolist(),
    }


def drawn(split: Split, seed: int) -> list[int]:
    """All rows, in an order of chance that depends on nothing but their ids."""
    order: list[int] = np.argsort(hashed_uniform(split.table["id"].to_pylist(), seed), kind="stable").tolist()
    return order


def examples(split: Split, outputs: Outputs, sums: Sums, params: Any) -> list[Panel]:
    """Rows at random, the best, the worst, and those that lost something; the order is by chrF, long ones first."""
    ids, found = split.table["id"].to_pylist(), metrics(sums.rows, settings(params))
    sides = [split.table["source"].to_pylist(), split.table["target"].to_pylist(), outputs["text"].tolist()]
    cells, chrf = [*zip(*sides, found["chrf"].tolist(), strict=True)], found["chrf"]
    ties = np.array(ids), np.array([-len(text) for text in sides[0]])
    best, worst = (np.lexsort((*ties, key)).tolist() for key in (-chrf, chrf))
    short_of_numbers = found["numerals_kept"] < 1  # NaN where the reference has none
    negated = [*zip(*([bool(NEGATION.search(text)) for text in side] for side in sides), strict=True)]
    unnegated = [row for row in worst if negated[row] == (True, True, False)]
    chosen = [
        ("Translations at random", "Drawn by hash", drawn(split, params.seed)),
        ("The best", "By chrF of a row alone", best),
        ("The worst", "By chrF of a row alone", worst),
        ("Lost numbers", "Digits of the reference", [row for row in worst if short_of_numbers[row]]),
        ("Lost negations", "There in source and reference, as far as words tell", unnegated),
    ]
    return [listed(title, caption, rows[:KEPT], ids, cells) for title, caption, rows in chosen]


def listed(title: str, caption: str, rows: Sequence[int], ids: Sequence[str], cells: Sequence[Sequence[Any]]) -> Panel:
    """Some rows: source, target, output and chrF."""
    return {
        "kind": "samples",
        "title": title,
        "caption": caption,
        "columns": columns({"Source": "text", "Reference": "text", "Output": "text", "chrF": "score"}),
        "ids": [ids[row] for row in rows],
        "rows": [list(cells[row]) for row in rows],
    }
