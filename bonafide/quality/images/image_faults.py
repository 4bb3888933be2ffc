"""Every image of a table, decoded once: what is wrong with it, what it measures, and what it is compared by."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from bonafide.images.decode import Pixels, read
from bonafide.images.fingerprints import DIGEST, SIDE, fingerprints
from bonafide.images.header import FAULTS, BadImageError, Header, Limits
from bonafide.project.arrays import Bools, Floats
from bonafide.project.process import CHUNK, map_chunks

CHUNK_BYTES = 32 * 2**20  # of files that go to a process at once
SLOW = 1000  # bytes of a file take as long as one of the rows by which `map_chunks` decides

LEVELS = np.arange(256)
RECORD = pa.schema(
    {
        "fault": pa.string(),  # one of FAULTS, or null_image or constant; null: none
        "reason": pa.string(),  # in a few words, null where there is none
        "format": pa.string(),
        "mode": pa.string(),
        "width": pa.int32(),  # pixels of the file, as its header says; null where that does not read
        "height": pa.int32(),
        "orientation": pa.int8(),  # EXIF's
        "mean": pa.float64(),  # of all pixels and channels, 0 to 1; null where it does not decode, as all below
        "deviation": pa.float64(),  # over the pixels: the root of the channels' mean variance
        "exact": pa.binary(DIGEST),
        "difference": pa.uint64(),
        "mirrored": pa.uint64(),
        "small": pa.binary(SIDE * SIDE),
    }
)


class _Chunk(NamedTuple):
    """Images for one process."""

    images: list[bytes | None]
    limits: Limits


def examine_images(images: pa.ChunkedArray, limits: Limits, processes: int | None = None) -> pa.Table:
    """A record of RECORD for each of the files (n,) of bytes, in their order; `processes`: the machine's cores."""
    sizes = pc.fill_null(pc.binary_length(images), 0).to_numpy().astype(np.int64)
    work = max(len(sizes), int(sizes.sum()) // SLOW)
    tables = [*map_chunks(_examine_chunk, _chunks(images, sizes, limits), work, processes)]
    return pa.concat_tables(tables) if tables else RECORD.empty_table()


def _chunks(images: pa.ChunkedArray, sizes: Any, limits: Limits) -> Iterator[_Chunk]:
    """So many rows, or so many bytes."""
    chunk = np.maximum(np.cumsum(sizes) // CHUNK_BYTES, np.arange(len(sizes)) * 8 // CHUNK)
    starts = np.flatnonzero(np.diff(chunk, prepend=-1)).tolist()
    for start, stop in pairwise([*starts, len(sizes)]):
        yield _Chunk(images[start:stop].to_pylist(), limits)


def _examine_chunk(chunk: _Chunk) -> pa.Table:
    return pa.Table.from_pylist([_examine(data, chunk.limits) for data in chunk.images], schema=RECORD)


def _examine(data: bytes | None, limits: Limits) -> dict[str, Any]:
    """One image's record."""
    if data is None:
        return {"fault": "null_image", "reason": "no image"}
    try:
        header, pixels = read(data, limits)
    except BadImageError as error:
        return {"fault": error.fault, "reason": str(error)} | _measures(error.header)
    mean, deviation = brightness(pixels)
    constant = {} if deviation else {"fault": "constant", "reason": "all of one colour"}
    found = {"mean": mean, "deviation": deviation} | fingerprints(pixels)._asdict()
    return constant | _measures(header) | found


def _measures(header: Header | None) -> dict[str, Any]:
    names = ("format", "mode", "width", "height", "orientation")
    return {} if header is None else {name: getattr(header, name) for name in names}


def brightness(pixels: Pixels) -> tuple[float, float]:
    """Mean of all pixels and channels, and the root of the channels' mean variance over the pixels, both 0 to 1.

    By sums of whole numbers, which are exact: one colour has a deviation of exactly 0.
    """
    count = pixels.size // 3
    counts = np.array(Image.fromarray(pixels).histogram(), dtype=np.int64).reshape(3, 256)
    sums, squares = (counts @ LEVELS).tolist(), (counts @ LEVELS**2).tolist()
    variance = sum(count * square - total**2 for total, square in zip(sums, squares, strict=True)) / 3 / count**2
    return sum(sums) / 3 / count / 255, math.sqrt(variance) / 255


def faults(records: pa.Table) -> dict[str, Bools]:
    """A mask for each reason to set a row aside."""
    found = records["fault"].combine_chunks()
    names = ("null_image", *FAULTS, "constant")
    return {
        name: pc.fill_null(pc.equal(found, name), fill_value=False).to_numpy(zero_copy_only=False) for name in names
    }


def identity(records: pa.Table) -> pa.ChunkedArray:
    """(n,) strings, equal where all pixels are; null where there are none."""
    digests = [None if digest is None else digest.hex() for digest in records["exact"].to_pylist()]
    return pa.chunked_array([pa.array(digests, pa.string())])


def numbers(records: pa.Table, name: str) -> Floats:
    """A column as (n,) float64, NaN where it is null."""
    found: Floats = records[name].cast(pa.float64()).to_numpy()
    return found
