"""Tables as people keep them: a CSV, TSV, JSON or Parquet file, packed or not, or a folder of such files, to Arrow."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bonafide.project.console import printable
from bonafide.project.errors import InputError
from bonafide.project.files import write_bytes
from bonafide.sources.columns import names
from bonafide.sources.delimited import EXPECTED, read_delimited
from bonafide.sources.jsonlines import read_jsonlines
from bonafide.sources.parquet import read_parquet
from bonafide.sources.table_file import Contents, kind
from bonafide.sources.text_files import COMPRESSIONS, MAX_FIELD

ROW_GROUP = 2**16  # rows; fixed, since it shapes the bytes of the file
TEXT_FILES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
SUFFIXES = (*TEXT_FILES, ".parquet")
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
    """Files that are no tables."""


def is_table(path: Path) -> bool:
    """Whether a name is that of a table."""
    return kind(path) in (TEXT_FILES if path.suffix.lower() in COMPRESSIONS else SUFFIXES)


def find_files(folder: Path) -> tuple[list[Path], list[str]]:
    """The tables of a folder and its subfolders by name, and what else is there; hidden files and markers are not."""
    tables, others = [], []

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
            if not is_table(path):
                others.append(path.relative_to(folder).as_posix())
            elif printable(name) != name:
                raise InputError(f"{path}: a file's name with what is no character: rename it")
            else:
                tables.append(path)
    return sorted(tables), sorted(map(printable, others))


def read_table(path: Path, wanted: Mapping[str, str], quotes: str = "auto") -> Source:
    """Read the `wanted` columns of a file, or of every file of a folder in the order of their names.

    `wanted` is column: the key of params that asks for it; `quotes` is `read_delimited`'s. Raises InputError.
    """
    files, not_read = find_files(path) if path.is_dir() else ([path], [])
    if not files:
        told = f"; not read: {', '.join(not_read[:8])}" if not_read else ""
        raise InputError(f"{path}: a folder without a {', '.join(SUFFIXES)} file{told}")
    contents = [read_file(file, wanted, quotes) for file in files]
    if not any(one.table.num_rows for one in contents):
        raise InputError(f"{path}: no rows")
    shown = [file.relative_to(path).as_posix() if path.is_dir() else file.name for file in files]
    found = [
        {"file": name, "rows": one.table.num_rows, "form": one.form} for name, one in zip(shown, contents, strict=True)
    ]
    columns: dict[str, str] = {}
    for name, type_ in dict.fromkeys(column for one in contents for column in one.columns):
        columns[name] = f"{columns[name]}, {type_}" if name in columns else type_
    return Source(join([one.table for one in contents], list(wanted), str(path)), found, columns, not_read)


def read_file(path: Path, wanted: Mapping[str, str], quotes: str) -> Contents:
    """Read one file by its suffix."""
    if not is_table(path):
        packed = f", the text ones also with {', '.join(COMPRESSIONS)}"
        raise InputError(f"{path}: not a table: a name ends in {', '.join(SUFFIXES)}{packed}")
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if kind(path) in EXPECTED:
        contents = read_delimited(path, wanted, quotes)
    else:
        contents = (read_parquet if kind(path) == ".parquet" else read_jsonlines)(path, wanted)
    check_sizes(contents.table, path)
    return contents


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
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        lengths = pc.binary_length(column)
        if (pc.max(lengths).as_py() or 0) > MAX_FIELD:
            row = pc.index(pc.greater(lengths, MAX_FIELD), value=True).as_py() + 1
            raise InputError(f"{path}: row {row} has a field of over {MAX_FIELD // 2**20} MiB in the column {name!r}")


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet whose bytes depend on the rows only: no metadata, one chunk, row groups of one size."""
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(None).combine_chunks(), sink, row_group_size=ROW_GROUP)
    write_bytes(path, sink.getvalue())
