"""A trained classifier as a reader of image files, by evaluate's own code and so with evaluate's numbers.

An image goes the way of the images that the model was judged on: the header within validate's limits, decoded, fitted
into tokenize's square. It comes as bytes, or as a string of base64 with or without `data:image/...;base64,` before it.
Addresses and paths are refused: a service that fetched them would fetch for anybody what only it can reach.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from bonafide.evaluation import class_probabilities
from bonafide.images.decode import Pixels, decode
from bonafide.images.header import BadImageError, Limits, read_header
from bonafide.images.resize import fit
from bonafide.pretrained.model_files import check_model
from bonafide.project.arrays import Floats
from bonafide.project.errors import InputError
from bonafide.protocol import Rows
from bonafide.tasks.image_classification import model as own

DATA_URI = re.compile(r"data:[\w.+/-]*(?:;[\w.+/=-]+)*;base64,", re.ASCII | re.IGNORECASE)
IMAGES = 1000  # of a request
PIXELS = 100_000_000  # of all its images: 2 s of decoding
MADE = 8  # images by whose outputs a changed environment is known


@dataclass(frozen=True)
class Reader:
    """A model and how its images are treated."""

    model: Any
    labels: list[str]
    config: Mapping[str, Any]
    """`size`, `fit`, `min_side`, `max_side` and `max_pixels`, as params.yaml had them."""

    @property
    def limits(self) -> Limits:
        """What an image may measure."""
        return Limits(*(self.config[name] for name in Limits._fields))


def config(params: Mapping[str, Any]) -> dict[str, Any]:
    """How a revision's images were treated."""
    gate, square = params["validate"], params["tokenize"]
    return {"size": square["size"], "fit": square["fit"], **{name: gate[name] for name in Limits._fields}}


def load(folder: Path, config: Mapping[str, Any]) -> Reader:
    """Load a safetensors model; raise InputError where it is damaged or wants to run code of its own."""
    check_model(folder)
    model = own.load(folder)
    labels = [str(model.config.id2label[index]) for index in range(model.config.num_labels)]
    return Reader(model, labels, config)


def refuse(reader: Reader, rows: Rows) -> None:
    """Raise InputError that names the first row that is no image within the limits, and for a request too large."""
    if len(rows) > IMAGES:
        raise InputError(f"{len(rows):,} images are more than the {IMAGES:,} of a request: send several")
    pixels = 0
    for number, row in enumerate(rows):
        try:
            data = to_bytes(row["image"])
            header = read_header(data, reader.limits)
            pixels += header.width * header.height
            _check_total(pixels)
            decode(data, reader.limits)
        except BadImageError as error:
            raise InputError(f"row {number}: {error}") from None


def _check_total(pixels: int) -> None:
    if pixels > PIXELS:
        raise InputError(f"more than {PIXELS:,} pixels in the images of a request: send several")


def to_bytes(image: Any) -> bytes:
    """The bytes of an image as it comes to a service; raise BadImageError with one line where it is none."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if not isinstance(image, str):
        kind = "null" if image is None else type(image).__name__
        raise BadImageError(f"an image is wanted, as base64 of its file, not {kind}")
    start = DATA_URI.match(image)
    try:
        return base64.b64decode("".join(image[start.end() if start else 0 :].split()), validate=True)
    except ValueError:
        raise BadImageError("no base64 of an image's file; addresses and paths are not fetched") from None


def read(reader: Reader, image: Any) -> Pixels:
    """An image as the model sees it, (size, size, 3) uint8."""
    return fit(decode(to_bytes(image), reader.limits), reader.config["size"], reader.config["fit"])


def predict(reader: Reader, rows: Rows) -> Floats:
    """Class probabilities of each image, (n, classes) float64."""
    pixels = np.stack([read(reader, row["image"]) for row in rows])
    labels, ids = np.zeros(len(rows), dtype=np.int64), np.array([""] * len(rows))
    return own.predict(reader.model, {"pixels": pixels, "labels": labels, "ids": ids})


def answers(reader: Reader, outputs: Floats) -> dict[str, list[Any]]:
    """`label`, and `probabilities` by class."""
    return class_probabilities.answers(outputs, reader.labels)


def signature(reader: Reader) -> tuple[Any, Any]:
    """A column of images in, a label and a probability for each class out.

    Of strings, which bytes pass as well: of MLflow's binary columns its server decodes base64 itself, without a word
    on what is none, so that an address would be a damaged image, and a data: URI too.
    """
    from mlflow.types import ColSpec, DataType, Schema

    return Schema([ColSpec(DataType.string, "image")]), class_probabilities.answer_schema(reader.labels)


def examples(reader: Reader) -> list[dict[str, str]]:
    """Made-up images, the same for the same model: coarse random squares, as PNG in base64."""
    from PIL import Image

    least, limits = max(reader.config["size"], reader.limits.min_side), reader.limits
    side = min(least, limits.max_side, isqrt(limits.max_pixels))
    coarse = np.random.default_rng(0).integers(0, 256, (MADE, 4, 4, 3), dtype=np.uint8)
    made = []
    for pixels in coarse:
        written = BytesIO()
        Image.fromarray(fit(pixels, side, "stretch")).save(written, "PNG")
        made.append({"image": base64.b64encode(written.getvalue()).decode()})
    return made
