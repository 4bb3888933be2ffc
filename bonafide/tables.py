"""Tables as people keep them: a CSV, TSV, JSONL or Parquet file, or a folder of such files, to Arrow."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bonafide.delimited import read_delimited
from bonafide.errors import InputError
from bonafide.files import write_bytes
from bonafide.jsonlines import read_jsonlines
from bonafide.text_files import MAX_FIELD

ROW_GROUP = 2**16  # rows; fixed, since it shapes the bytes of the file


def read_parquet(path: Path) -> pa.Table:
    """Read a Parquet file; texts in it may be invalid UTF-8."""
    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        raise InputError(f"{path}: not a readable Parquet file") from None


READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": read_jsonlines,
    ".ndjson": read_jsonlines,
    ".parquet": read_parquet,
}


def read_table(path: Path) -> pa.Table:
    """Read a file, or every file of a folder in the order of their names; raise InputError with one line."""
    if not path.is_dir():
        return read_file(path)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in READERS)
    if not files:
        raise InputError(f"{path}: a folder without a {', '.join(READERS)} file")
    tables = [read_file(file) for file in files]
    for file, table in zip(files, tables, strict=True):
        odd = sorted(set(table.column_names) ^ set(tables[0].column_names))
        if odd:
            raise InputError(f"{file}: its columns are not those of {files[0].name}: {odd[0]!r} is in one of them only")
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise InputError(f"{path}: a column has another type in one file than in another") from None


def read_file(path: Path) -> pa.Table:
    """Read one file by its suffix."""
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path}: not a table: a name ends in {', '.join(READERS)}")
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        table = READERS[path.suffix.lower()](path)
    except PermissionError:
        raise InputError(f"{path}: not readable: permission denied") from None
    if not table.num_rows:
        raise InputError(f"{path}: no rows")
    check_sizes(table, path)
    return table


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
