"""Columns of image files' bytes, built and grouped by size, so that a few large images cost no more than many small."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MAX_IMAGE = 2**24  # bytes of one image file; a longer one is no photograph
CHUNK = 2**25  # bytes of images that are held beside a table: as Python's objects, or as one row group


class ByteColumn:
    """A column that grows value by value: large_binary, in chunks of about CHUNK bytes."""

    def __init__(self) -> None:  # noqa: D107
        self._chunks: list[pa.Array] = []
        self._values: list[bytes | None] = []
        self._size = 0

    def add(self, value: bytes | None) -> None:
        """Append one image file, or a null."""
        self._values.append(value)
        self._size += len(value or b"")
        if self._size >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        self._chunks.append(pa.array(self._values, pa.large_binary()))
        self._values, self._size = [], 0

    def finish(self) -> pa.ChunkedArray:
        """What was added."""
        if self._values:
            self._flush()
        return pa.chunked_array(self._chunks, pa.large_binary())


def row_groups(table: pa.Table, most: int) -> Iterator[pa.Table]:
    """A table in parts of at most `most` rows, that end where CHUNK bytes of images are full: a function of the rows.

    A column of images is one of the type large_binary; without one each part but the last has `most` rows.
    """
    sizes = np.zeros(len(table), np.int64)
    for column in table.columns:
        if pa.types.is_large_binary(column.type):
            sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy()
    ends, start = np.cumsum(sizes), 0
    while start < len(table) or start == 0:
        before = ends[start - 1] if start else 0
        full = int(np.searchsorted(ends, before + CHUNK)) + 1  # rows up to the one that fills it
        stop = max(min(full, start + most, len(table)), start)
        yield table.slice(start, stop - start).combine_chunks()
        if stop == start:
            return
        start = stop
