"""Parquet files to Arrow, and Arrow's many ways to store a value to one each."""

import uuid
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bonafide.project.errors import InputError
from bonafide.sources.columns import NO_KINDS, check_columns
from bonafide.sources.images.class_labels import class_names, spell
from bonafide.sources.table_file import Contents

BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
ROWS = 2**16  # of a batch; whole row groups would be held twice
BATCH = 2**23  # bytes of a batch of images
BUFFER = 2**20  # bytes of a column that are read at a time, rather than all of it beside the table


def read_parquet(path: Path, wanted: Mapping[str, str], kinds: Mapping[str, str] = NO_KINDS) -> Contents:
    """Read the `wanted` columns as `plain_types` has them; texts in them may be invalid UTF-8.

    A category of the task, by `kinds`, that Hugging Face's metadata calls a ClassLabel has its classes' names.
    """
    if not path.stat().st_size:
        raise InputError(f"{path}: empty")
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER) as file:
            schema = file.schema_arrow
            check_columns(schema.names, wanted, str(path))
            refuse_nested(schema, wanted, path, kinds)
            columns = [name for name in schema.names if name in wanted]
            size = batch_rows(file.metadata) if "image" in kinds.values() else ROWS
            batches = [batch.select(columns) for batch in file.iter_batches(size, columns=columns)]
            rows = file.metadata.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last for a column's name
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: not readable: permission denied") from None
        raise InputError(f"{path}: not a readable Parquet file: {first_line(error)}") from None
    table = pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in columns]))
    if len(table) != rows:
        raise InputError(f"{path}: its footer says {rows} rows, there are {len(table)}: is it whole?")
    table, form = plain_types(table, str(path), kinds), "Parquet"
    for name in columns:
        classes = class_names(schema, name) if kinds.get(name) == "category" else None
        if classes is not None:
            table = table.set_column(table.column_names.index(name), name, spell(table[name], classes))
            form = "Parquet, labels by ClassLabel's names"
    return Contents(table, [(field.name, str(field.type)) for field in schema], form)


def batch_rows(metadata: pq.FileMetaData) -> int:
    """Rows that hold about BATCH bytes where they are largest, ROWS at most: a string of Arrow's ends at 2 GiB."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(ROWS, BATCH // max(largest, 1)))


def refuse_nested(
    schema: pa.Schema, wanted: Mapping[str, str], where: object, kinds: Mapping[str, str] = NO_KINDS
) -> None:
    """Raise InputError at a column that is asked for, is none of images and holds lists, structs or maps."""
    for name, key in wanted.items():
        kind = schema.field(name).type
        if pa.types.is_nested(kind) and kinds.get(name) != "image":
            raise InputError(f"{where}: the column {name!r} ({key}) holds {kind}, not values")


def plain_types(table: pa.Table, where: str, kinds: Mapping[str, str] = NO_KINDS) -> pa.Table:
    """The columns without Arrow's ways to store the same: dictionaries, runs, views, large texts, bytes, extensions.

    Bytes are texts, but in a column of images.
    """
    columns = {}
    for name in table.column_names:
        try:
            columns[name] = plain_type(table[name], as_texts=kinds.get(name) != "image")
        except (pa.ArrowException, ValueError) as error:
            kind = table.schema.field(name).type
            raise InputError(f"{where}: the column {name!r}: {kind} cannot be read: {first_line(error)}") from None
    return pa.table(columns)


def plain_type(column: pa.ChunkedArray, *, as_texts: bool) -> pa.ChunkedArray:
    """One column: ids spelled out, bytes as texts that may be invalid UTF-8, numbers and times as they are."""
    kind, chunks = column.type, column.chunks
    if pa.types.is_dictionary(kind):
        plain = [plain_type(pa.chunked_array([chunk.dictionary]), as_texts=as_texts) for chunk in chunks]
        values = [one.take(chunk.indices) for one, chunk in zip(plain, chunks, strict=True)]
        return pa.chunked_array([part for value in values for part in value.chunks]) if values else pa.nulls(0)
    if pa.types.is_run_end_encoded(kind):
        decoded = pa.chunked_array([pc.run_end_decode(chunk) for chunk in chunks], kind.value_type)
        return plain_type(decoded, as_texts=as_texts)
    if isinstance(kind, pa.BaseExtensionType):
        stored = pa.chunked_array([chunk.storage for chunk in chunks], kind.storage_type)
        return spell_ids(stored) if kind.extension_name == "arrow.uuid" else plain_type(stored, as_texts=as_texts)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if as_texts and any(matches(kind) for matches in BYTES):
        return column.cast(pa.binary()).cast(options=pc.CastOptions(pa.string(), allow_invalid_utf8=True))
    return column


def spell_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """UUIDs as they are written."""
    spelled = [None if value is None else str(uuid.UUID(bytes=value)) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(spelled, pa.string())])


def first_line(error: Exception) -> str:
    """What a library says, in one line."""
    return " ".join(str(error).split("\n", 1)[0].split())[:200] or type(error).__name__
