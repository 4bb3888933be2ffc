"""A trained classifier as a reader of raw texts, by evaluate's own code and so with evaluate's numbers.

A text goes the way of the texts that the model was judged on: personal data masked where validate masks it, the same
tokenizer and cut, batches sorted by length and packed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.datasets import ragged
from bonafide.evaluation import class_probabilities
from bonafide.pretrained import tokenizer
from bonafide.pretrained.model_files import check_model
from bonafide.project.arrays import Floats
from bonafide.protocol import Rows
from bonafide.quality.texts import requests
from bonafide.tasks.classification import model as own


@dataclass(frozen=True)
class Reader:
    """A model and how its texts are treated."""

    model: Any
    processor: Any
    labels: list[str]
    config: Mapping[str, Any]
    """`max_length`, `min_characters`, `max_characters` and `mask`, as params.yaml had them."""


def config(params: Mapping[str, Any]) -> dict[str, Any]:
    """How a revision's texts were treated."""
    gate = params["validate"]
    return {
        "max_length": params["tokenize"]["max_length"],
        "min_characters": gate["min_characters"],
        "max_characters": gate["max_characters"],
        "mask": gate["personal_data"] == "mask",
    }


def load(folder: Path, config: Mapping[str, Any]) -> Reader:
    """Load a safetensors model; raise InputError where it is damaged or wants to run code of its own."""
    check_model(folder)
    model = own.load(folder)
    labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
    return Reader(model, tokenizer.load(folder), labels, config)


def predict(reader: Reader, rows: Rows) -> Floats:
    """Class probabilities of each text, (n, classes) float64."""
    texts = [row["text"] for row in rows]
    masked = requests.mask(texts) if reader.config["mask"] else texts
    ids, _ = tokenizer.encode(masked, reader.processor, reader.config["max_length"])
    return own.predict(reader.model, ragged.pack(ids, np.zeros(len(ids), dtype=np.int64), [""] * len(ids)).arrays)


def answers(reader: Reader, outputs: Floats) -> dict[str, list[Any]]:
    """`label`, and `probabilities` by class."""
    return class_probabilities.answers(outputs, reader.labels)


def signature(reader: Reader) -> tuple[Any, Any]:
    """A column of texts in, a label and a probability for each class out."""
    from mlflow.types import ColSpec, DataType, Schema

    return Schema([ColSpec(DataType.string, "text")]), class_probabilities.answer_schema(reader.labels)


def examples(reader: Reader, texts: int = 16, words: int = 12) -> list[dict[str, str]]:
    """Random words of the model's vocabulary, the same for the same vocabulary."""
    processor = reader.processor
    ids = np.random.default_rng(0).integers(0, len(processor), (texts, words)).tolist()
    return [{"text": f"{processor.decode(row, skip_special_tokens=True)} {number}"} for number, row in enumerate(ids)]


def refuse(reader: Reader, rows: Rows) -> None:
    """Raise InputError that names the first row that is no text of as many characters as validate asks for."""
    requests.refuse(rows, "text", reader.config["min_characters"], reader.config["max_characters"])
