"""A trained translator of raw texts, by evaluate's own code: the same masks, tokens, cuts and search.

On a CPU a text has the same bits alone and among others (generation.beam), and so evaluate's. On a GPU the last bits of
a sum depend on the texts beside it, and a translation is another only where two are as likely to that digit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bonafide.pretrained.model_files import check_model
from bonafide.protocol import Rows
from bonafide.quality.texts import requests
from bonafide.tasks.translation import encode
from bonafide.tasks.translation import model as own

OUTPUTS = np.dtype([("text", object), ("log_probability", np.float64)])


@dataclass(frozen=True)
class Reader:
    """A model and how its texts are treated."""

    translator: own.Translator
    config: Mapping[str, Any]
    """`max_length`, `prefix`, `min_characters`, `max_characters` and `mask`, as params.yaml had them."""


def config(params: Mapping[str, Any]) -> dict[str, Any]:
    """How a revision's sources were treated."""
    gate, section = params["validate"], params["tokenize"]
    return {
        "max_length": section["max_length"],
        "prefix": section["prefix"],
        "min_characters": gate["min_characters"],
        "max_characters": gate["max_characters"],
        "mask": gate["personal_data"] == "mask",
    }


def load(folder: Path, config: Mapping[str, Any]) -> Reader:
    """Load a safetensors model; raise InputError where it is damaged or wants to run code of its own."""
    check_model(folder)
    return Reader(own.load(folder), config)


def refuse(reader: Reader, rows: Rows) -> None:
    """Raise InputError that names the first row whose source is no text of as many characters as validate asks for."""
    requests.refuse(rows, "source", reader.config["min_characters"], reader.config["max_characters"])


def predict(reader: Reader, rows: Rows) -> npt.NDArray[Any]:
    """Of each source the translation and its log-probability, nats: (n,) of `OUTPUTS`."""
    sources = [row["source"] for row in rows]
    texts = requests.mask(sources) if reader.config["mask"] else sources
    max_length, prefix = reader.config["max_length"], reader.config["prefix"]
    ids, _ = encode.encode_sources(texts, reader.translator.processor, max_length, prefix)
    translated, chosen = own.translate(reader.translator, ids)
    found = np.zeros(len(rows), dtype=OUTPUTS)
    found["text"], found["log_probability"] = translated, [one.log_probability for one in chosen]
    return found


def answers(reader: Reader, outputs: npt.NDArray[Any]) -> dict[str, list[Any]]:  # noqa: ARG001
    """`target`, and its `log_probability` in nats."""
    return {"target": outputs["text"].tolist(), "log_probability": outputs["log_probability"].tolist()}


def signature(reader: Reader) -> tuple[Any, Any]:  # noqa: ARG001
    """A column of sources in, a translation and its log-probability out."""
    from mlflow.types import ColSpec, DataType, Schema

    outputs = ColSpec(DataType.string, "target"), ColSpec(DataType.double, "log_probability")
    return Schema([ColSpec(DataType.string, "source")]), Schema([*outputs])


def examples(reader: Reader, texts: int = 16, words: int = 8) -> list[dict[str, str]]:
    """Random words of the model's vocabulary, the same for the same vocabulary."""
    processor = reader.translator.processor
    ids = np.random.default_rng(0).integers(0, len(processor), (texts, words)).tolist()
    return [{"source": f"{processor.decode(row, skip_special_tokens=True)} {number}"} for number, row in enumerate(ids)]
