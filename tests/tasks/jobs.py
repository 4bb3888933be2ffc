"""A tiny project for every task: a table of its own, and the params that fit it."""

import base64
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data import shapes
from tests.project import ROOT, Project, reviews, small_project


@dataclass(frozen=True)
class Job:
    """What the conformance suite knows of a task."""

    start: Callable[[Path], Project]
    """A committed project in a folder, nothing run yet."""
    target: str
    """The column of its table that is predicted."""
    broken: Any
    """A value of that column which sets its row aside."""
    answer: Callable[[dict[str, Any]], Any]
    """What predictions.parquet has of the model in a row, from the answer of the served model; of a struct any part."""


def classification(folder: Path) -> Project:
    """Reviews of two classes, a BERT in miniature that learns to tell them apart."""
    project = small_project(folder)
    project.set(train__learning_rate=0.01, train__epochs=6)
    project.commit("Learn")
    return project


def regression(folder: Path) -> Project:
    """Made-up houses in a JSONL file; their price depends on all columns but the noise."""
    project = Project(folder)
    shutil.copy(ROOT / "recipes/house_prices.yaml", project.folder / "params.yaml")
    project.write_table(houses(400))
    project.set(
        task__numbers=["feet", "rooms"],
        task__categories=["zip"],
        data__source="data/table.jsonl",
        data__downloads=[],
        data__columns={"target": "price"},
        data__slices=["rooms"],
        validate__ranges={"target": [1, 1e8], "feet": [1, 1e6]},
        validate__min_rows=20,
        tokenize__logarithms=["feet"],
        evaluate__bootstrap_samples=100,
        evaluate__min_slice_rows=5,
    )
    project.commit()
    return project


def houses(rows: int) -> list[dict[str, Any]]:
    """Deterministic, with a row of its own for each number."""
    rng = np.random.default_rng(1)
    made = []
    for row in range(rows):
        feet, rooms, place = int(rng.integers(500, 5000)), int(rng.integers(1, 7)), int(rng.integers(0, 5))
        price = 120 * feet**0.9 * np.exp(0.1 * rooms + 0.2 * place + rng.normal(0, 0.1))
        made.append(
            {"price": round(price), "feet": feet, "rooms": rooms, "zip": f"98{place:03}", "note": f"house {row}"}
        )
    return made


def causal_lm(folder: Path) -> Project:
    """Speeches of Shakespeare's, and a Llama in miniature that learns which characters are common."""
    project = Project(folder)
    shutil.copy(ROOT / "recipes/gpt_shakespeare.yaml", project.folder / "params.yaml")
    passages = (ROOT / "data/tinyshakespeare.jsonl").read_text(encoding="utf-8").splitlines()[:30]
    speeches = "".join(json.loads(line)["text"] for line in passages).split("\n\n")
    project.write_table([{"text": text} for text in dict.fromkeys(speeches) if len(text) > 100])
    project.set(
        data__source="data/table.jsonl",
        data__columns={"text": "text"},
        validate__max_known_ngrams=0.1,
        validate__max_unknown_characters=0.01,
        tokenize__context=64,
        train__architecture__width=32,
        train__architecture__layers=2,
        train__architecture__heads=2,
        train__architecture__key_value_heads=1,
        train__architecture__feed_forward=64,
        train__epochs=2,
        train__learning_rate=0.01,
        evaluate__bootstrap_samples=100,
        evaluate__max_order=5,
        evaluate__samples__tokens=80,
        evaluate__samples__served=True,
    )
    project.commit()
    return project


def translation(folder: Path) -> Project:
    """Made-up sentences in an order of words and a script of their own, which a Transformer in miniature learns."""
    project = Project(folder)
    shutil.copy(ROOT / "recipes/translation.yaml", project.folder / "params.yaml")
    project.write_table(sentences(300))
    project.set(
        data__source="data/table.jsonl",
        data__slices=["when"],
        validate__validation_fraction=0.1,
        validate__test_fraction=0.1,
        validate__min_rows=5,
        tokenize__vocabulary_size=200,
        tokenize__max_length=24,
        train__architecture={
            "kind": "marian", "width": 32, "layers": 1, "heads": 2, "feed_forward": 64, "positions": 24
        },
        train__epochs=12,
        train__batch_size=16,
        train__learning_rate=0.005,
        train__dropout=0.0,
        train__decoding={"beams": 2, "length_penalties": [0.6, 1.4], "tried_rows": 20},
        evaluate__bootstrap_samples=100,
        evaluate__min_slice_rows=5,
    )  # fmt: skip
    project.commit()
    return project


WHO = {"the man": "人", "a girl": "女孩", "my friend": "朋友", "the teacher": "老师", "she": "她", "he": "他"}
DOES = {"eats": "吃", "sees": "看", "wants": "要", "likes": "喜欢", "buys": "买"}
WHAT = {"rice": "米饭", "two books": "两本书", "the horse": "马", "green tea": "绿茶", "a big house": "大房子"}
WHEN = {"today": "今天", "every day": "每天", "now": "现在"}


def sentences(rows: int) -> list[dict[str, Any]]:
    """Deterministic, no two alike: the time stands last on the one side and first on the other."""
    every = [(who, does, what, when) for who in WHO for does in DOES for what in WHAT for when in WHEN]
    made = []
    for row in np.random.default_rng(1).permutation(len(every))[:rows].tolist():
        who, does, what, when = every[row]
        source = f"{who.capitalize()} {does} {what} {when}."
        made.append({"source": source, "target": f"{WHEN[when]}{WHO[who]}{DOES[does]}{WHAT[what]}。", "when": when})
    return made


def toy(folder: Path) -> Project:
    """A task that is nowhere but in tests/tasks/toy: its folder is put beside the others, and nothing is edited."""
    project = Project(folder)
    shutil.copytree(ROOT / "tests/tasks/toy", project.folder / "bonafide/tasks/toy")
    shutil.copy(ROOT / "recipes/house_prices.yaml", project.folder / "params.yaml")
    project.write_table([{"thing": f"thing {i}", "weight": 100 + i * i % 97} for i in range(300)])
    shared = {"validation_fraction": 0.1, "test_fraction": 0.1, "max_quarantine_fraction": 0.05}
    project.set(
        task={"name": "toy"},
        data__source="data/table.jsonl",
        data__downloads=[],
        data__columns={"weight": "weight"},
        data__slices=[],
        validate=shared,
        tokenize={},
        train={},
        evaluate={"bootstrap_samples": 100, "min_slice_rows": 5, "margin": 5},
        compare__margin=5,
        promote__minimum={},
    )
    project.commit()
    return project


LM_FIELDS = ("nats", "tokens", "hits")


def masked_lm(folder: Path) -> Project:
    """Reviews without their labels, by the character, of which a ModernBERT in miniature learns what is hidden."""
    project = Project(folder)
    shutil.copy(ROOT / "recipes/bert_mlm.yaml", project.folder / "params.yaml")
    project.write_table([{"note": row["text"], "domain": row["domain"]} for row in reviews(240)])
    architecture = {"kind": "modernbert", "width": 64, "layers": 2, "heads": 2, "feed_forward": 128, "positions": 64}
    project.set(
        data__source="data/table.jsonl",
        data__columns={"text": "note"},
        data__slices=["domain"],
        validate__max_repeated_lines=1,
        validate__max_known_ngrams=1,
        validate__max_unknown_characters=1,
        tokenize__max_length=48,
        train__architecture=architecture,
        train__epochs=25,
        train__patience=25,
        train__batch_size=16,
        train__learning_rate=0.005,
        evaluate__bootstrap_samples=100,
        evaluate__min_slice_rows=5,
        promote__minimum={},
    )
    project.commit()
    return project


def image_classification(folder: Path) -> Project:
    """Drawn shapes in data URIs, which a convolutional network in miniature tells apart."""
    project = Project(folder)
    shutil.copy(ROOT / "recipes/cifar10.yaml", project.folder / "params.yaml")
    project.write_table(drawings(360))
    project.set(
        task__labels=[*shapes.SHAPES],
        data__source="data/table.jsonl",
        data__downloads=[],
        data__columns={"image": "image", "label": "shape"},
        data__slices=["ground"],
        validate__validation_fraction=0.15,
        validate__test_fraction=0.15,
        validate__min_side=8,
        validate__min_rows_per_class=5,
        validate__max_label_shift=0.3,
        tokenize__size=16,
        train__architecture={"kind": "cnn", "widths": [8, 16]},
        train__epochs=4,
        train__batch_size=32,
        evaluate__bootstrap_samples=100,
        evaluate__min_slice_rows=5,
        promote__minimum={},
    )
    project.commit()
    return project


def drawings(rows: int) -> list[dict[str, Any]]:
    """Deterministic, no two alike, 16 x 16 pixels, each a PNG in a data URI."""
    drawn = shapes.draw(rows, 16)
    addresses = [f"data:image/png;base64,{base64.b64encode(image).decode()}" for image in drawn["image"]]
    found = zip(addresses, drawn["label"], drawn["ground"], strict=True)
    return [{"image": image, "shape": label, "ground": ground} for image, label, ground in found]


JOBS = {
    "image_classification": Job(
        image_classification, "shape", "unheard of", lambda answer: [*answer["probabilities"].values()]
    ),
    "translation": Job(translation, "target", "", lambda answer: {"text": answer["target"]}),
    "classification": Job(classification, "label", "unheard of", lambda answer: [*answer["probabilities"].values()]),
    "causal_lm": Job(causal_lm, "text", "bell\x07", lambda answer: {name: answer[name] for name in LM_FIELDS}),
    "toy": Job(toy, "weight", -1, lambda answer: answer),
    "regression": Job(regression, "price", "much", lambda answer: answer["value"]),
    "masked_lm": Job(masked_lm, "note", "", lambda answer: {name: answer[name] for name in ("nats", "masked", "hits")}),
}
