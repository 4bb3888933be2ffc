"""The user's columns to ours: the raw table that every later stage reads, whatever the user's types and names are."""

import math
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bonafide.errors import InputError
from bonafide.params import Data

OPTIONAL = ("id", "group", "split")
NAME = re.compile(r"(?=.{1,30}$)[\w().:/#%-]+( [\w().:/#%-]+){0,3}")  # anything else may be a row's text: not printed


def arrange(table: pa.Table, data: Data, required: Sequence[str]) -> pa.Table:
    """The raw table: `id`, the task's `required` columns, `group` and `split` where mapped, then the slice columns.

    All are strings but numeric slice columns, which are float64. A missing or empty name is null; ids are unique.
    """
    source = {**data.columns, **{name: name for name in data.slices}}
    columns = {"id": row_ids(table, data)}
    for name in (*required, *OPTIONAL[1:], *data.slices):
        if name in source:
            column, where = table[source[name]], f"{data.source}: the column {source[name]!r}"
            is_text = name in required and name != "label"
            values = numbers(column) if name in data.slices else None
            columns[name] = texts(column, where) if is_text else names(column, where) if values is None else values
    return pa.table(columns)


def check_map(data: Data, required: Sequence[str]) -> None:
    """Raise InputError where the column map lacks a column, has an unknown one, or a slice column clashes with it."""
    known = (*required, *OPTIONAL)
    for ours in data.columns:
        if ours not in known:
            raise InputError(
                f"params.yaml: data.columns: {ours!r} is not one of {', '.join(known)}{nearest(ours, known)}"
            )
    for ours in required:
        if ours not in data.columns:
            raise InputError(f"params.yaml: data.columns: {ours!r} is missing")
    for name in data.slices:
        if name in known or data.slices.count(name) > 1:
            raise InputError(f"params.yaml: data.slices: {name!r} is there already")


def wanted_columns(data: Data) -> dict[str, str]:
    """The table's columns that params ask for: the key that does."""
    return dict.fromkeys(data.slices, "data.slices") | {
        theirs: f"data.columns.{ours}" for ours, theirs in data.columns.items()
    }


def check_columns(found: Sequence[str], wanted: Mapping[str, str], where: str) -> None:
    """Raise InputError where a `wanted` column is missing in what was `found`, or there twice."""
    for name, key in wanted.items():
        if found.count(name) > 1:
            raise InputError(f"{where}: the column {name!r} ({key}) is there {found.count(name)} times")
        if name not in found:
            header = [repr(other) if NAME.fullmatch(other) else f"({len(other)} characters)" for other in found[:8]]
            more = f" and {len(found) - 8} more" if len(found) > 8 else ""
            shown = f"the header is {', '.join(header)}{more}"
            raise InputError(f"{where}: no column {name!r} ({key}){nearest(name, found)}; {shown}")


def nearest(name: str, names: Sequence[str]) -> str:
    """`: did you mean 'x'?`, where a name is close."""
    close = get_close_matches(name.lower(), [other.lower() for other in names if NAME.fullmatch(other)], n=1)
    match = next((other for other in names if close and other.lower() == close[0]), None)
    return f": did you mean {match!r}?" if match else ""


def row_ids(table: pa.Table, data: Data) -> pa.ChunkedArray:
    """Unique ids: the mapped column, else the row's number from 1."""
    if "id" not in data.columns:
        return pa.chunked_array([pa.array(map(str, range(1, table.num_rows + 1)), pa.string())])
    where = f"{data.source}: the column {data.columns['id']!r}"
    ids = names(table[data.columns["id"]], where)
    if ids.null_count:
        raise InputError(f"{where}: row {pc.index(pc.is_null(ids), value=True).as_py() + 1} has no id")
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        first = repeated[0]["values"].as_py()[:80]
        raise InputError(f"{where}: {len(repeated)} ids are there more than once, {first!r} the first of them")
    return ids


def texts(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """A text column, untouched: invalid UTF-8 passes on to validate, which names the row."""
    if column.null_count == len(column):
        raise InputError(f"{where}: no row has a text")
    if not pa.types.is_string(column.type):
        raise InputError(f"{where}: holds {column.type}, not texts")
    return column


def names(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """A column of names: 1, 1.0 and " 1 " are "1", true is "true", an empty one and NaN are null."""
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise InputError(f"{where}: holds {column.type}, not names")
    try:
        values = pc.unique(column)
        spelled = pa.array([spell(value) for value in values.to_pylist()], pa.string())
    except UnicodeDecodeError:
        row = next(row for row, value in enumerate(column, 1) if not is_utf8(value))
        raise InputError(f"{where}: row {row} is not UTF-8") from None
    return pc.take(spelled, pc.index_in(column, value_set=values))


def spell(value: Any) -> str | None:
    """One name."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    integral = isinstance(value, float) and value.is_integer()
    return (str(int(value)) if integral else str(value)).strip() or None


def is_utf8(value: pa.Scalar) -> bool:
    """Whether a string scalar can be decoded."""
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def numbers(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A column as float64, NaN and infinity as null, or None where it holds something else, or nothing."""
    if pa.types.is_boolean(column.type) or pa.types.is_temporal(column.type) or column.null_count == len(column):
        return None
    try:
        values = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return pc.if_else(pc.is_finite(values), values, None)
