"""A trained masked language model as a reader of raw texts: it fills in what is hidden, or tells how well it knows one.

A text with the mask token gets guesses for each. Any other gets evaluate's own numbers: of the tokens that evaluate
hides in it, which follow from the text alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bonafide.datasets.masked_texts import FIELDS, for_evaluation
from bonafide.pretrained import tokenizer
from bonafide.pretrained.model_files import check_model
from bonafide.project.errors import InputError
from bonafide.protocol import Outputs, Rows
from bonafide.quality.texts import requests
from bonafide.tasks.masked_lm import model as own
from bonafide.tasks.masked_lm.encode import SPECIAL, special, to_arrays
from bonafide.tasks.masked_lm.params import Tokenize

ANSWERED = FIELDS[:3]
Guesses = list[dict[str, Any]]
"""`token` and `probability`, the likeliest first."""


@dataclass(frozen=True)
class Reader:
    """A model and how its texts are treated."""

    model: Any
    processor: Any
    config: Mapping[str, Any]
    """`tokenize`, and `min_characters`, `max_characters` and `mask` of the gate, as params.yaml had them."""


def config(params: Mapping[str, Any]) -> dict[str, Any]:
    """How a revision's texts were treated."""
    gate = params["validate"]
    return {
        "tokenize": params["tokenize"],
        "min_characters": gate["min_characters"],
        "max_characters": gate["max_characters"],
        "mask": gate["personal_data"] == "mask",
    }


def load(folder: Path, config: Mapping[str, Any]) -> Reader:
    """Load a safetensors model; raise InputError where it is damaged or wants to run code of its own."""
    check_model(folder)
    return Reader(own.load(folder), tokenizer.load(folder), config)


def refuse(reader: Reader, rows: Rows) -> None:
    """Raise InputError that names the first row that is no text of as many characters as validate asks for."""
    requests.refuse(rows, "text", reader.config["min_characters"], reader.config["max_characters"])
    section, hidden = Tokenize(**reader.config["tokenize"]), reader.processor.mask_token
    for number, row in enumerate(rows):
        if hidden in row["text"] and len(split(reader, row["text"])) > section.max_length - SPECIAL:
            raise InputError(f"row {number}: a text with {hidden} may have {section.max_length - SPECIAL} tokens")


def predict(reader: Reader, rows: Rows) -> Outputs:
    """As `model.predict`, and `guesses`: of a text with mask tokens JSON of those for each, and NaN for the rest."""
    texts = [row["text"] for row in rows]
    masked = requests.mask(texts) if reader.config["mask"] else texts
    section = Tokenize(**reader.config["tokenize"])
    sums = own.predict(reader.model, to_arrays(masked, [""] * len(masked), reader.processor, section))
    found = np.empty(len(rows), dtype=[*sums.dtype.descr, ("guesses", object)])
    for name in FIELDS:
        found[name] = sums[name]
    asked = [row for row, text in enumerate(masked) if reader.processor.mask_token in text]
    for row, guesses in zip(asked, fill(reader, [masked[row] for row in asked]), strict=True):
        found[row] = *[np.nan] * len(FIELDS), json.dumps(guesses, ensure_ascii=False)
    return found


def fill(reader: Reader, texts: Sequence[str]) -> list[list[Guesses]]:
    """The best guesses for each mask token of each text, the likeliest first."""
    if not texts:
        return []
    processor, parts = reader.processor, [split(reader, text) for text in texts]
    tokens, offsets = np.concatenate(parts), np.append(0, np.cumsum([len(part) for part in parts]))
    hidden = np.flatnonzero(tokens == processor.mask_token_id)
    arrays = {"input_ids": tokens, "offsets": offsets, "texts": offsets, "hidden": hidden}
    laid = for_evaluation(arrays | {"special": special(processor), "ids": np.array([""] * len(texts))})
    told = own.tell(reader.model, laid)
    each = [
        [{"token": processor.decode([token]), "probability": p} for token, p in zip(row, likely, strict=True)]
        for row, likely in zip(told.guesses.tolist(), told.probabilities.tolist(), strict=True)
    ]
    ends = np.cumsum(laid.units).tolist()
    return [each[end - count : end] for end, count in zip(ends, laid.units.tolist(), strict=True)]


def split(reader: Reader, text: str) -> npt.NDArray[np.int32]:
    """The tokens of a text, with the mask where it is written, also where the tokenizer would take that as text."""
    processor = reader.processor
    parts = processor(text.split(processor.mask_token), add_special_tokens=False, verbose=False)["input_ids"]
    joined = [token for part in parts for token in [processor.mask_token_id, *part]]
    return np.array(joined[1:], dtype=np.int32)


def answers(reader: Reader, outputs: Outputs) -> dict[str, list[Any]]:  # noqa: ARG001
    """Of a text with mask tokens `guesses`; of any other `nats` of its `masked` tokens and how many were `hits`."""
    numbers = {name: [None if np.isnan(x) else x for x in outputs[name].tolist()] for name in ANSWERED}
    return numbers | {"guesses": [None if found is None else json.loads(found) for found in outputs["guesses"]]}


def signature(reader: Reader) -> tuple[Any, Any]:  # noqa: ARG001
    """A column of texts in; numbers and guesses out, of which a text has either."""
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array, Object, Property

    guess = Object([Property("token", DataType.string), Property("probability", DataType.double)])
    numbers = (ColSpec(DataType.double, name, required=False) for name in ANSWERED)
    guesses = ColSpec(Array(Array(guess)), "guesses", required=False)
    return Schema([ColSpec(DataType.string, "text")]), Schema([*numbers, guesses])


def examples(reader: Reader, texts: int = 16, words: int = 24) -> list[dict[str, str]]:
    """Random words of the model's vocabulary, the same for the same vocabulary."""
    processor = reader.processor
    ids = np.random.default_rng(0).integers(0, len(processor), (texts, words)).tolist()
    return [{"text": f"{processor.decode(row, skip_special_tokens=True)} {number}"} for number, row in enumerate(ids)]
