"""Images to arrays of one size, labels to the numbers of classes.

What was done to the images is kept in `preprocessor_config.json`, in the form of transformers' own image processors.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bonafide.images.decode import decode
from bonafide.images.resize import Fit, fit
from bonafide.project.arrays import Arrays, Ints, Metrics
from bonafide.project.errors import InputError
from bonafide.project.files import read_json, write_json
from bonafide.project.process import CHUNK, map_chunks

PREPROCESSOR = "preprocessor_config.json"
Processor = dict[str, Any]


def prepare(base: Path, train: pa.Table, params: Any, folder: Path) -> Processor:
    """The size, and the mean and deviation of each channel, in `folder`/processor; the labels in labels.json."""
    wanted = params.tokenize
    mean, deviation = statistics(base, train, params)
    processor = {
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": wanted.size, "width": wanted.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": deviation,
        "image_processor_type": "ViTImageProcessor",
        "fit": wanted.fit,
    }
    write_json(folder / "processor" / PREPROCESSOR, processor)
    write_json(folder / "labels.json", params.task.labels)
    return processor


def statistics(base: Path, train: pa.Table, params: Any) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, of values from 0 to 1: of train, of the base model, or 0 and 1."""
    if params.tokenize.normalise == "none":
        return [0.0] * 3, [1.0] * 3
    if params.tokenize.normalise == "base":
        return base_statistics(base)
    sums, squares, count = np.zeros(3), np.zeros(3), 0
    for pixels in read(train, params.tokenize.size, params.tokenize.fit):
        values = pixels.reshape(-1, 3).astype(np.float64) / 255
        sums, squares, count = sums + values.sum(axis=0), squares + np.square(values).sum(axis=0), count + len(values)
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean.tolist(), [one or 1.0 for one in deviation.tolist()]


def base_statistics(base: Path) -> tuple[list[float], list[float]]:
    """What the base model's preprocessor says; raise InputError where it has none."""
    try:
        found = read_json(base / PREPROCESSOR)
        mean, deviation = ([float(one) for one in found[name]] for name in ("image_mean", "image_std"))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"tokenize.normalise: base: the base model has no {PREPROCESSOR} with image_mean and image_std: take train"
        ) from None
    return mean, deviation


def encode(table: pa.Table, processor: Processor, params: Any) -> tuple[Arrays, Metrics]:
    """Pixels (n, size, size, 3) uint8 and the class of each row; rows and pixels."""
    size = processor["size"]["height"]
    pixels = np.empty((len(table), size, size, 3), dtype=np.uint8)
    at = 0
    for part in read(table, size, processor["fit"]):
        pixels[at : at + len(part)] = part
        at += len(part)
    classes = {label: index for index, label in enumerate(params.task.labels)}
    labels: Ints = np.array([classes[label] for label in table["label"].to_pylist()], dtype=np.int64)
    ids = np.array(table["id"].to_pylist(), dtype=np.str_)
    return {"pixels": pixels, "labels": labels, "ids": ids}, {"rows": len(table), "pixels": size * size * len(table)}


def read(table: pa.Table, size: int, how: Fit) -> Iterator[npt.NDArray[np.uint8]]:
    """The images of a table as arrays (m, size, size, 3), in order, decoded on all cores."""
    chunks = ((table["image"][i : i + CHUNK].to_pylist(), size, how) for i in range(0, len(table), CHUNK))
    yield from map_chunks(_read_chunk, chunks, len(table))


def _read_chunk(chunk: tuple[Sequence[bytes], int, Fit]) -> npt.NDArray[np.uint8]:
    images, size, how = chunk
    return np.stack([fit(decode(image), size, how) for image in images])
