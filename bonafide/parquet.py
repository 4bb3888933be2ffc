"""Parquet files to Arrow, and Arrow's many types to the few that a table of texts and names has."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bonafide.columns import check_columns
from bonafide.errors import InputError
from bonafide.table_file import Contents

KEPT = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null, pa.types.is_string)
TEXTS = (pa.types.is_large_string, pa.types.is_string_view)
BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
ROWS = 2**16  # of a batch; whole row groups would be held twice


def read_parquet(path: Path, wanted: Mapping[str, str]) -> Contents:
    """Read the `wanted` columns as `plain_type` has them; texts in them may be invalid UTF-8."""
    if not path.stat().st_size:
        raise InputError(f"{path}: empty")
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            check_columns(schema.names, wanted, str(path))
            refuse_nested(schema, wanted, path)
            columns = [name for name in schema.names if name in wanted]
            batches = [batch.select(columns) for batch in file.iter_batches(ROWS, columns=columns)]
            rows = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: not readable: permission denied") from None
        reason = str(error).splitlines()[0].strip() if str(error) else "broken"
        raise InputError(f"{path}: not a readable Parquet file: {reason[:200]}") from None
    table = pa.Table.from_batches(batches, pa.schema([schema.field(name) for name in columns]))
    if len(table) != rows:
        raise InputError(f"{path}: its footer says {rows} rows, there are {len(table)}: is it whole?")
    return Contents(plain_types(table, str(path)), [(field.name, str(field.type)) for field in schema], "Parquet")


def refuse_nested(schema: pa.Schema, wanted: Mapping[str, str], where: object) -> None:
    """Raise InputError at a column that is asked for and holds lists, structs or maps."""
    for name, key in wanted.items():
        kind = schema.field(name).type
        if pa.types.is_nested(kind):
            raise InputError(f"{where}: the column {name!r} ({key}) holds {kind}, not values")


def plain_types(table: pa.Table, where: str) -> pa.Table:
    """The columns as strings, but for integers, floats and booleans, which stay as they are."""
    columns = {}
    for name in table.column_names:
        try:
            columns[name] = plain_type(table[name])
        except (pa.ArrowException, ValueError) as error:
            reason = str(error).splitlines()[0][:200]
            kind = table.schema.field(name).type
            raise InputError(f"{where}: the column {name!r}: {kind} cannot be read: {reason}") from None
    return pa.table(columns)


def plain_type(column: pa.ChunkedArray) -> pa.ChunkedArray:  # noqa: PLR0911 - a table of types
    """One column: dictionaries decoded, texts as strings, decimals, dates, times and ids spelled out."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = [plain_type(pa.chunked_array([chunk.dictionary])).take(chunk.indices) for chunk in column.chunks]
        return pa.chunked_array([part for value in values for part in value.chunks]) if values else pa.nulls(0)
    if pa.types.is_run_end_encoded(kind):
        return plain_type(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type))
    if isinstance(kind, pa.BaseExtensionType):
        stored = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        if kind.extension_name == "arrow.uuid":
            return spell_each(stored, lambda value: str(uuid.UUID(bytes=value.as_py())))
        return plain_type(stored)
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if any(matches(kind) for matches in KEPT):
        return column
    if any(matches(kind) for matches in TEXTS):
        return column.cast(pa.string())
    if any(matches(kind) for matches in BYTES):
        return column.cast(pa.binary()).cast(options=pc.CastOptions(pa.string(), allow_invalid_utf8=True))
    return spell_each(column, spell_time) if pa.types.is_temporal(kind) else column.cast(pa.string())


def spell_each(column: pa.ChunkedArray, spell: Any) -> pa.ChunkedArray:
    """A column of strings: every different value spelled once."""
    values = pc.unique(column)
    spelled = pa.array([spell(value) if value.is_valid else None for value in values], pa.string())
    return pc.take(spelled, pc.index_in(column, value_set=values))


def spell_time(value: pa.Scalar) -> str:
    """A date, time, timestamp or duration as Python spells it; beyond its years in UTC, as numpy does."""
    try:
        return str(value.as_py())
    except (OverflowError, ValueError):
        if not (pa.types.is_date(value.type) or pa.types.is_timestamp(value.type)):
            return str(value.cast(pa.string()))
    unit: Any = {pa.date32(): "D", pa.date64(): "ms"}.get(value.type) or value.type.unit
    shown = str(np.datetime64(value.value, unit)).replace("T", " ")
    return f"{shown}+00:00" if getattr(value.type, "tz", None) else shown
