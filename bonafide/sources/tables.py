"""Tables as people keep them: a CSV, TSV, JSON or Parquet file, packed or not, or a folder of such files, to Arrow."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bonafide.project.console import printable
from bonafide.project.errors import InputError
from bonafide.project.files import replacing
from bonafide.sources.columns import NO_KINDS, names
from bonafide.sources.delimited import EXPECTED, read_delimited
from bonafide.sources.images.byte_columns import row_groups
from bonafide.sources.images.cells import read_images
from bonafide.sources.images.image_folder import ImageFolder
from bonafide.sources.jsonlines import read_jsonlines
from bonafide.sources.parquet import read_parquet
from bonafide.sources.table_file import Contents, kind
from bonafide.sources.text_files import COMPRESSIONS, MAX_FIELD

ROW_GROUP = 2**16  # rows; fixed, since it shapes the bytes of the file
TEXT_FILES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
SUFFIXES = (*TEXT_FILES, ".parquet")
SIZED = (pa.types.is_string, pa.types.is_large_string, pa.types.is_large_binary)
MARKERS = {"_SUCCESS", "_metadata", "_common_metadata"}  # of whole folders of Parquet


@dataclass(frozen=True)
class Source:
    """A table, and what was found where it lies; paths are relative to the folder."""

    table: pa.Table
    """The columns that params ask for."""
    files: list[dict[str, str | int]] = field(default_factory=list)
    """Each file's `file`, `rows` and `form`."""
    columns: dict[str, str] = field(default_factory=dict)
    """Every column of the files: its type, or its types."""
    not_read: list[str] = field(default_factory=list)
    """Files that are no tables, and no images that a table names."""


def is_table(path: Path) -> bool:
    """Whether a name is that of a table."""
    return kind(path) in (TEXT_FILES if path.suffix.lower() in COMPRESSIONS else SUFFIXES)


def find_files(folder: Path, is_wanted: Callable[[Path], bool] = is_table) -> tuple[list[Path], list[str]]:
    """The tables of a folder and its subfolders by name, and what else is there; hidden files and markers are not."""
    found, others = [], []

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: not readable: {(error.strerror or 'no folder').lower()}")

    for root, folders, files in os.walk(folder, onerror=refuse):
        here = Path(root)
        links = [name for name in folders if (here / name).is_symlink() or name.startswith("_")]
        others += [f"{(here / name).relative_to(folder).as_posix()}/" for name in links if not name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".") and name not in links]
        for name in files:
            if name.startswith(".") or name in MARKERS:
                continue
            path = here / name
            if not is_wanted(path):
                others.append(path.relative_to(folder).as_posix())
            elif printable(name) != name:
                raise InputError(f"{path}: a file's name with what is no character: rename it")
            else:
                found.append(path)
    return sorted(found), sorted(map(printable, others))


def read_table(
    path: Path, wanted: Mapping[str, str], quotes: str = "auto", kinds: Mapping[str, str] = NO_KINDS
) -> Source:
    """Read the `wanted` columns of a file, or of every file of a folder in the order of their names.

    `wanted` is column: the key of params that asks for it, `kinds` column: its kind in the task; `quotes` is
    `read_delimited`'s. Columns of images are large_binary. Raises InputError.
    """
    files, not_read = find_files(path) if path.is_dir() else ([path], [])
    if not files:
        told = f"; not read: {', '.join(not_read[:8])}" if not_read else ""
        raise InputError(f"{path}: a folder without a {', '.join(SUFFIXES)} file{told}")
    folder = ImageFolder(path) if path.is_dir() else None
    contents = [read_file(file, wanted, quotes, kinds, folder) for file in files]
    if not any(one.table.num_rows for one in contents):
        raise InputError(f"{path}: no rows")
    shown = [file.relative_to(path).as_posix() if path.is_dir() else file.name for file in files]
    found = [
        {"file": name, "rows": one.table.num_rows, "form": one.form} for name, one in zip(shown, contents, strict=True)
    ]
    columns: dict[str, str] = {}
    for name, type_ in dict.fromkeys(column for one in contents for column in one.columns):
        columns[name] = f"{columns[name]}, {type_}" if name in columns else type_
    read = set(map(printable, folder.used)) if folder else set()
    others = [name for name in not_read if name not in read]
    return Source(join([one.table for one in contents], list(wanted), str(path)), found, columns, others)


def read_file(
    path: Path, wanted: Mapping[str, str], quotes: str, kinds: Mapping[str, str], folder: ImageFolder | None
) -> Contents:
    """Read one file by its suffix, and the images that it names."""
    if not is_table(path):
        packed = f", the text ones also with {', '.join(COMPRESSIONS)}"
        raise InputError(f"{path}: not a table: a name ends in {', '.join(SUFFIXES)}{packed}")
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if kind(path) in EXPECTED:
        contents = read_delimited(path, wanted, quotes)
    else:
        contents = read_parquet(path, wanted, kinds) if kind(path) == ".parquet" else read_jsonlines(path, wanted)
    table = with_images(contents.table, kinds, path, folder)
    check_sizes(table, path)
    return contents._replace(table=table)


def with_images(table: pa.Table, kinds: Mapping[str, str], path: Path, folder: ImageFolder | None) -> pa.Table:
    """The table with its columns of images as the bytes of image files; one without rows is left alone."""
    images = [name for name in table.column_names if kinds.get(name) == "image"]
    return read_images(table, images, path, folder) if len(table) else table


def join(tables: list[pa.Table], columns: list[str], where: str) -> pa.Table:
    """The tables end to end; a column whose type differs between them is spelled out."""
    joined = {}
    for name in columns:
        parts = [table[name] for table in tables if table.num_rows]
        if len({part.type for part in parts if not pa.types.is_null(part.type)}) > 1:
            parts = [part if pa.types.is_string(part.type) else names(part, where) for part in parts]
        kind_ = next((part.type for part in parts if not pa.types.is_null(part.type)), pa.null())
        joined[name] = pa.chunked_array([chunk for part in parts for chunk in part.cast(kind_).chunks], kind_)
    return pa.table(joined)


def check_sizes(table: pa.Table, path: Path) -> None:
    """Raise InputError with the row of the first field of over MAX_FIELD bytes."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not any(is_text(column.type) for is_text in SIZED):
            continue
        lengths = pc.binary_length(column)
        if (pc.max(lengths).as_py() or 0) > MAX_FIELD:
            row = pc.index(pc.greater(lengths, MAX_FIELD), value=True).as_py() + 1
            raise InputError(f"{path}: row {row} has a field of over {MAX_FIELD // 2**20} MiB in the column {name!r}")


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet whose bytes depend on the rows only: no metadata, row groups of one chunk, their sizes by the rows.

    Images are written as they are, since they are packed already; nothing but one row group is held twice.
    """
    table = table.replace_schema_metadata(None)
    schema = table.schema
    packed = [field.name for field in schema if pa.types.is_large_binary(field.type)]
    others = [name for name in schema.names if name not in packed]
    options: dict[str, Any] = {}
    if packed:
        codecs = dict.fromkeys(packed, "none") | dict.fromkeys(others, "snappy")
        options = {"use_dictionary": others, "write_statistics": others, "compression": codecs}
    with replacing(path) as file, pq.ParquetWriter(file, schema, **options) as writer:
        for part in row_groups(table, ROW_GROUP):
            writer.write_table(part, row_group_size=ROW_GROUP)
