"""A table's column of images to the bytes of image files: bytes, paths beside the table, or data URIs.

Bytes stay as they came: whether they are an image is the gate's to say.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from bonafide.project.console import printable
from bonafide.project.errors import InputError
from bonafide.sources.images.byte_columns import ByteColumn
from bonafide.sources.images.image_folder import ImageFolder, RefusedError

ROWS = 2**12  # of a string column that are Python's at a time
SHOWN = 3  # missing images, in a message
URL = re.compile(r"[a-z][a-z0-9+.-]*://|(https?|file|ftp|s3|gs|hf):", re.IGNORECASE)
DATA = re.compile(r"data:", re.IGNORECASE)
DATA_URI = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
STRINGS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
SINGLE = "and images beside a single table change unseen: put both into a folder, and name that in data.source"


@dataclass
class Cells:
    """One column of one table, being read."""

    where: str
    """The table and the column, for messages."""
    folder: ImageFolder | None
    """What paths are in; None where there may be none."""
    base: str
    """The table's folder, relative to it."""
    missing: list[tuple[int, str]] = field(default_factory=list)
    """Rows, from 1, whose path leads nowhere, and the path."""

    def read(self, texts: Iterator[bytes | None]) -> pa.ChunkedArray:
        """The images that a column of strings stands for; a null or empty string is a null."""
        column, rows = ByteColumn(), 0
        for rows, text in enumerate(texts, 1):
            try:
                column.add(self._image(text, rows) if text else None)
            except UnicodeDecodeError:
                raise InputError(f"{self.where}: row {rows} is not UTF-8") from None
            except RefusedError as error:
                raise InputError(f"{self.where}: row {rows} {error}") from None
        if self.missing:
            first = ", ".join(f"row {row} ({printable(path[:80])!r})" for row, path in self.missing[:SHOWN])
            more = ", ..." if len(self.missing) > SHOWN else ""
            raise InputError(
                f"{self.where}: {len(self.missing)} of {rows} images are not there: {first}{more};"
                " paths are relative to the folder of the table"
            )
        return column.finish()

    def _image(self, text: bytes, row: int) -> bytes | None:
        if DATA.match(text[:5].decode("latin-1")):
            return decode_uri(text)
        path = text.decode()
        if URL.match(path):
            raise RefusedError("holds a URL, which is not fetched: give bytes, a path or a data URI")
        if self.folder is None:
            raise RefusedError(f"holds a path, {SINGLE}")
        found = self.folder.read(path, self.base)
        if found is None:
            self.missing.append((row, path))
        return found


def decode_uri(text: bytes) -> bytes:
    """The bytes of `data:image/...;base64,...`; raise RefusedError where that is not strictly what it is."""
    head = DATA_URI.match(text[:80].decode("latin-1"))
    if head is None:
        raise RefusedError("holds a data URI that does not begin with data:image/TYPE;base64,")
    try:
        return b64decode(text[head.end() :], validate=True)
    except binascii.Error:
        raise RefusedError("holds a data URI that is not base64") from None


def read_images(table: pa.Table, columns: list[str], path: Path, folder: ImageFolder | None) -> pa.Table:
    """`table` with each of `columns` as large_binary: the bytes of image files, as they came.

    `path` is the table's, within `folder` where images may lie beside it. Raises InputError with the row of what is
    refused, and with the first rows whose file is not there.
    """
    base = path.parent.relative_to(folder.root).as_posix() if folder else ""
    for name in columns:
        cells = Cells(f"{path}: the column {name!r}", folder, base)
        table = table.set_column(table.column_names.index(name), name, image_bytes(table[name], cells))
    return table


def image_bytes(column: pa.ChunkedArray, cells: Cells) -> pa.ChunkedArray:
    """One column's images, by how it keeps them."""
    kind = column.type
    if any(matches(kind) for matches in BYTES):
        return column.cast(pa.large_binary())
    if any(matches(kind) for matches in STRINGS):
        return cells.read(strings(column))
    if pa.types.is_null(kind):
        raise InputError(f"{cells.where}: no row has an image")
    if is_pair(kind):
        return pair_bytes(column, cells)
    raise InputError(f"{cells.where}: holds {kind}, not images: give the bytes of image files, paths or data URIs")


def is_pair(kind: pa.DataType) -> bool:
    """Whether a type is how Hugging Face's datasets keep an image: its bytes and its path, either of which may lack."""
    if not pa.types.is_struct(kind):
        return False
    names = {one.name: one.type for one in kind.fields}
    fits = {
        name: any(matches(type_) for matches in (*(BYTES if name == "bytes" else STRINGS), pa.types.is_null))
        for name, type_ in names.items()
    }
    return len(fits) == kind.num_fields and "bytes" in fits and fits.keys() <= {"bytes", "path"} and all(fits.values())


def pair_bytes(column: pa.ChunkedArray, cells: Cells) -> pa.ChunkedArray:
    """The bytes of each pair, where it has none those of the file at its path."""
    held = pc.struct_field(column, "bytes")
    held = held.cast(pa.large_binary()) if pa.types.is_null(held.type) else image_bytes(held, cells)
    if not held.null_count or column.type.get_field_index("path") < 0:
        return held
    paths = pc.struct_field(column, "path").cast(pa.string())
    wanted = pc.if_else(pc.is_valid(held), pa.scalar(None, pa.string()), paths)
    return pc.coalesce(held, cells.read(strings(wanted))) if wanted.null_count < len(wanted) else held


def strings(column: pa.ChunkedArray) -> Iterator[bytes | None]:
    """The values of a column of strings as UTF-8, or what is meant to be."""
    for chunk in column.chunks:
        for start in range(0, len(chunk), ROWS):
            yield from chunk.slice(start, ROWS).cast(pa.binary()).to_pylist()
