"""docs/models.md: what the pipeline makes of every type of transformers' classifiers; `python -m dev.models` walks all.

Each type's base model in miniature goes through what fetch, tokenize, train and evaluate do with any other, and the
model that comes out is loaded as stock transformers would load it. tests/pretrained/test_models.py checks the page.
"""

import contextlib
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bonafide.datasets import ragged
from bonafide.engine.process_group import ProcessGroup
from bonafide.forward import packing
from bonafide.params.load import load_params
from bonafide.params.sections import Params
from bonafide.pretrained import tokenizer
from bonafide.pretrained.dry_run import check_loads, positions
from bonafide.pretrained.model_files import check_model
from bonafide.pretrained.padding import separate
from bonafide.project.arrays import Floats
from bonafide.project.errors import InputError
from bonafide.project.paths import BASE_MODEL, MODEL, TOKENIZED, VALIDATED
from bonafide.protocol import Split
from bonafide.tasks.classification import baselines
from bonafide.tasks.classification import model as classifier
from bonafide.tasks.classification import train as training
from bonafide.training.fit import run
from dev import zoo
from stages.tokenize import tokenize

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/models.md"
PACKED, PADDED, ALONE = "packed", "padded", "padded, one length at a time"
REFUSED, LATE = "refused in fetch", "refused late"
TEXT = """# Base models

What is made of each type of model that transformers {version} can classify texts with, found out by walking it:
a random base model in miniature is fetched, tokenized, trained, saved and evaluated, and then loaded as stock
transformers loads it (`make models` walks all again and writes this page, in some 3 minutes). Of {count}: {summary}.

- **packed**: texts lie end to end, nothing is padded. With `train.exact: true` the weights are the same bytes for every
  number of processes and parts.
- **padded**: to the longest text of a batch.
- **padded, one length at a time**: the architecture reads padding as if it were text, so that stock transformers, too,
  gives a text other probabilities beside longer ones. Here each text gets those that it has alone, as in a stock
  pipeline with its batch size of 1.
- **refused in fetch**: with this line, before anything else is done.

Of all that are not refused, the saved model gives stock transformers the probabilities that it was validated with, to
1e-3 (packed: to 1e-5). A base model that was trained to classify gets a fresh head.

| base model | batches | why |
|---|---|---|
{table}

These read more than texts and are not walked:

| base model | what it reads |
|---|---|
{others}
"""
LABELS = ("negative", "positive")
WORDS = ("bad awful poor ugly sad", "good fine nice lovely great")
THINGS = ["film", "phone", "book", "meal", "song", "trip", "game", "room"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in zoo.TYPES},
    "bert, trained on 3 classes": ("bert", {"head": True, "num_labels": 3}),
    "roberta, trained on as many classes": ("roberta", {"head": True, "num_labels": 2}),
    "distilbert, trained on several labels a text": (
        "distilbert",
        {"head": True, "num_labels": 2, "problem_type": "multi_label_classification"},
    ),
    "gpt2, trained on 5 classes": ("gpt2", {"head": True, "num_labels": 5}),
    "bart, trained on 3 classes": ("bart", {"head": True, "num_labels": 3}),
    "electra, trained to regress": ("electra", {"head": True, "num_labels": 1, "problem_type": "regression"}),
    "llama in bfloat16": ("llama", {"dtype": "bfloat16"}),
    "roberta with PhoBERT's tokenizer": ("roberta", {"python": "PhobertTokenizer"}),
    "bert with BertJapanese's tokenizer": ("bert", {"python": "BertJapaneseTokenizer"}),
}
"""What is walked: the base model's type, and what is particular about it."""
ROWS = {"train": 48, "validation": 12, "test": 12}
BOUND, PACKED_BOUND = 1e-3, 1e-5  # of a probability, between what was validated and what stock transformers gives


@dataclass(frozen=True)
class Found:
    """What became of a base model."""

    case: str
    batches: str
    """packed, padded, padded one length at a time, refused in fetch, or refused late: in a stage after it."""
    why: str = ""
    apart: float = 0.0
    """The largest difference between what was validated and what stock transformers gives: probabilities, log-loss."""
    spread: float = 0.0
    """The standard deviation of the probabilities over texts, against which a difference has to be seen."""

    @property
    def row(self) -> str:
        """Its line on the page."""
        return f"| {self.case} | {self.batches} | {self.why.replace('|', '/')} |"


def rows(split: str, longest: str = "") -> list[dict[str, str]]:
    """Short texts of two classes, of many lengths."""
    found = []
    for i in range(ROWS[split]):
        words, start = WORDS[i % 2].split(), {"train": 0, "validation": 100, "test": 200}[split]
        text = " ".join(f"{words[(i + j) % 5]} {THINGS[(i * 3 + j) % 8]} {start + i}" for j in range(1 + i % 4))
        found.append({"id": f"{split}{i}", "text": text, "label": LABELS[i % 2], "group": f"{split}{i}"})
    return [{**found[0], "text": longest or found[0]["text"]}, *found[1:]]


def texts() -> list[str]:
    """All texts of the walk."""
    return [row["text"] for split in ROWS for row in rows(split)]


def prepare(name: str, **changes: Any) -> Params:
    """A base model of a type in the working folder, a validated table beside it, and params for both."""
    zoo.build_base(BASE_MODEL, name, texts(), **changes)
    for split in ROWS:
        VALIDATED.mkdir(parents=True, exist_ok=True)
        table = rows(split, "good bad " * 40 if split == "test" else "")
        pq.write_table(pa.Table.from_pylist(table), VALIDATED / f"{split}.parquet")
    params = load_params(ROOT / "params.yaml")
    recipe = replace(params.train, epochs=2, batch_size=8, learning_rate=3e-3, patience=2, shards=2, precision="fp32")
    return replace(params, threads=1, train=recipe)


def go(params: Params) -> tuple[dict[str, Any], dict[str, float]]:
    """Fetch's checks, tokenize, train, evaluate; the model's probabilities by split, and what validation measured."""
    check_model(BASE_MODEL)
    check_loads(BASE_MODEL, classifier.HEAD)
    most = positions(BASE_MODEL, classifier.HEAD, zoo.POSITIONS)
    params = replace(params, tokenize=replace(params.tokenize, max_length=most))
    tokenize(params)
    metrics = run(training, params, ProcessGroup(exact=params.train.exact), Path("checkpoints"), dict)
    splits = {
        split: Split(pq.read_table(VALIDATED / f"{split}.parquet"), ragged.read(TOKENIZED / split)) for split in ROWS
    }
    baselines.predict(splits, params)
    model = classifier.load(MODEL)
    found = {split: classifier.predict(model, splits[split].examples) for split in ROWS if split != "train"}
    return found, {name.removeprefix("train/best/"): value for name, value in metrics.items()}


def stock(split: str, most: int, size: int) -> Floats:
    """The probabilities of a split's texts by the saved folder alone, as a stock pipeline makes batches of a size."""
    texts = pq.read_table(VALIDATED / f"{split}.parquet")["text"].to_pylist()
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForSequenceClassification.from_pretrained(MODEL, dtype="float32").eval()
    cut = {"padding": True, "truncation": True, "max_length": most, "return_tensors": "pt"}
    with torch.no_grad():
        batches = [model(**tokenizer(texts[i : i + size], **cut)).logits for i in range(0, len(texts), size)]
    return np.concatenate([logits.double().softmax(-1).numpy() for logits in batches])


def batches() -> tuple[str, str]:
    """How the saved model takes texts, and why it does not take packed ones."""
    model = AutoModelForSequenceClassification.from_pretrained(MODEL, dtype="float32")
    if separate(model, tokenizer.probe(MODEL)):
        return ALONE, "it reads padding as if it were text"
    why = packing.try_packing(model).partition(", by ")[0]  # a number that depends on the machine
    return (PADDED if why else PACKED), why


def walk(case: str, **recipe: Any) -> Found:
    """One base model, all the way, in the working folder; `recipe` changes the train section."""
    name, changes = CASES.get(case, (case, {}))
    params = prepare(name, **changes)
    try:
        found, validated = go(replace(params, train=replace(params.train, **recipe)))
    except InputError as refusal:
        return Found(case, LATE if TOKENIZED.exists() else REFUSED, str(refusal).removeprefix("base model: "))
    (how, why), most = batches(), positions(BASE_MODEL, classifier.HEAD, zoo.POSITIONS)
    given = {split: stock(split, most, 1 if how == ALONE else 5) for split in ("validation", "test")}
    validation = ragged.read_tokens(TOKENIZED / "validation")
    loss = training.validation_metrics(validation, given["validation"])["log_loss"]
    apart = [float(np.abs(found[split] - given[split]).max()) for split in given]
    return Found(case, how, why, max(*apart, abs(loss - validated["log_loss"])), float(given["test"].std(axis=0).max()))


def quietly(case: str, **recipe: Any) -> Found:
    """`walk` in a folder of its own, without the stages' and the library's own words."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return walk(case, **recipe)


def page(found: list[Found]) -> str:
    """docs/models.md."""
    counts = {how: sum(one.batches == how for one in found) for how in (PACKED, PADDED, ALONE, REFUSED)}
    summary = ", ".join(f"{count} {how}" for how, count in counts.items())
    others = [f"| {name} | {what} |" for name, what in sorted(zoo.NO_TEXTS.items())]
    table = [one.row for one in sorted(found, key=lambda one: one.case)]
    return TEXT.format(
        count=len(found),
        summary=summary,
        table="\n".join(table),
        others="\n".join(others),
        version=transformers.__version__,
    )


def main() -> None:
    """Walk all, and write the page."""
    found = []
    for case in CASES:
        found.append(quietly(case))
        print(found[-1].row, f"{found[-1].apart:.1g} of {found[-1].spread:.1g}", file=sys.stderr, flush=True)
    PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
