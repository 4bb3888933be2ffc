"""A trained language model as a reader of raw texts, by evaluate's own code and so with evaluate's numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.pretrained import tokenizer
from bonafide.pretrained.model_files import check_model
from bonafide.protocol import Outputs, Rows
from bonafide.quality.texts import requests
from bonafide.tasks.causal_lm import encode
from bonafide.tasks.causal_lm import model as own


@dataclass(frozen=True)
class Reader:
    """A model and how its texts are treated."""

    model: Any
    processor: Any
    config: Mapping[str, Any]
    """`context`, `end`, `min_characters`, `max_characters`, `mask`; and `samples`, or None where no text is gone on
    with: `seed`, `tokens`, `temperature` and `top_p`."""


def config(params: Mapping[str, Any]) -> dict[str, Any]:
    """How a revision's texts were treated."""
    gate, section, samples = params["validate"], params["tokenize"], params["evaluate"]["samples"]
    options = {name: samples[name] for name in ("tokens", "temperature", "top_p")}
    return {
        "context": section["context"],
        "end": section["end"],
        "min_characters": gate["min_characters"],
        "max_characters": gate["max_characters"],
        "mask": gate["personal_data"] == "mask",
        "samples": {**options, "seed": samples["seeds"][0]} if samples["served"] else None,
    }


def load(folder: Path, config: Mapping[str, Any]) -> Reader:
    """Load a safetensors model; raise InputError where it is damaged or wants to run code of its own."""
    check_model(folder)
    return Reader(own.load(folder), tokenizer.load(folder), config)


def refuse(reader: Reader, rows: Rows) -> None:
    """Raise InputError that names the first row that is no text of as many characters as validate asks for."""
    requests.refuse(rows, "text", reader.config["min_characters"], reader.config["max_characters"])


def predict(reader: Reader, rows: Rows) -> Outputs:
    """As `model.predict`, with the `characters` of each text and, where it is asked for, a `continuation`."""
    texts = [row["text"] for row in rows]
    texts = requests.mask(texts) if reader.config["mask"] else texts
    arrays = encode.to_arrays(texts, reader.processor, context=reader.config["context"], end=reader.config["end"])
    found = own.predict(reader.model, arrays)
    more = [("characters", np.float64)] + ([("continuation", np.object_)] if reader.config["samples"] else [])
    answered = np.empty(len(texts), dtype=[*found.dtype.descr, *more])
    for name in own.FIELDS:
        answered[name] = found[name]
    answered["characters"] = arrays["characters"]
    if reader.config["samples"]:
        answered["continuation"] = go_on(reader, texts)
    return answered


def go_on(reader: Reader, texts: list[str]) -> list[str]:
    """What the model writes after each text, by one seed for all: a function of that text alone."""
    from bonafide.generation.sampling import sample

    options = dict(reader.config["samples"])
    seeds = [options.pop("seed")] * len(texts)
    start, found = own.start_of(reader.model), reader.processor(texts, add_special_tokens=False, verbose=False)
    prompts = [[start, *ids] for ids in found["input_ids"]]
    written = sample(reader.model, prompts, seeds=seeds, context=reader.config["context"], **options)
    return [reader.processor.decode(ids, skip_special_tokens=True) for ids in written]


def answers(reader: Reader, outputs: Outputs) -> dict[str, list[Any]]:  # noqa: ARG001
    """`bits_per_character`, the `nats` of how many `tokens`, the `hits` among them, and a `continuation` if asked."""
    bits = outputs["nats"] / np.log(2) / outputs["characters"]
    texts = {"continuation": outputs["continuation"].tolist()} if "continuation" in (outputs.dtype.names or ()) else {}
    return {"bits_per_character": bits.tolist(), **{name: outputs[name].tolist() for name in own.FIELDS}, **texts}


def signature(reader: Reader) -> tuple[Any, Any]:
    """A column of texts in; numbers out, and a text where it is asked for."""
    from mlflow.types import ColSpec, DataType, Schema

    numbers = [ColSpec(DataType.double, name) for name in ("bits_per_character", *own.FIELDS)]
    texts = [ColSpec(DataType.string, "continuation")] if reader.config["samples"] else []
    return Schema([ColSpec(DataType.string, "text")]), Schema([*numbers, *texts])


def examples(reader: Reader, texts: int = 16, tokens: int = 48) -> list[dict[str, str]]:
    """Random tokens of the model's vocabulary, the same for the same vocabulary."""
    ids = np.random.default_rng(0).integers(0, len(reader.processor), (texts, tokens)).tolist()
    decode = reader.processor.decode
    return [{"text": f"{decode(row, skip_special_tokens=True)} {number}"} for number, row in enumerate(ids)]
