"""The user's columns to ours: the raw table that every later stage reads, whatever the user's types and names are."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from bonafide.params.sections import Data, slice_columns
from bonafide.params.yaml_spelling import EXACT
from bonafide.project.errors import InputError

DIGITS = 15  # of a decimal number, that float64 tells from every other
BYTES = re.compile("binary|extension|run_end|interval")  # types without names
OPTIONAL = ("id", "group", "split")
NO_KINDS: Mapping[str, str] = MappingProxyType({})
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
NAME = re.compile(r"(?=.{1,30}$)[\w().:/#%-]+( [\w().:/#%-]+){0,3}")  # anything else may be a row's text: not printed


def arrange(table: pa.Table, data: Data, kinds: Mapping[str, str]) -> pa.Table:
    """The raw table: `id`, the task's columns by their `kinds`, `group` and `split` where mapped, then slice columns.

    Texts stay as they came, categories are strings and numbers float64, as slice columns are where they hold numbers
    alone; all others are strings. A missing or empty name is null; ids are unique.
    """
    check_map(data, [*kinds])
    columns = {"id": row_ids(table, data)}
    for ours, theirs in task_columns(data, kinds).items():
        if ours != "id":
            columns[ours] = READERS[kinds.get(ours, "category")](table[theirs], f"{data.source}: the column {theirs!r}")
    for theirs, ours in slice_columns(data.slices, kinds).items():
        column, where = table[theirs], f"{data.source}: the column {theirs!r}"
        values = numbers(column)
        columns[ours] = names(column, where) if values is None else values
    return pa.table(columns)


def task_columns(data: Data, kinds: Mapping[str, str]) -> dict[str, str]:
    """Our columns, and what the table calls them: as we do, unless `data.columns` says otherwise."""
    optional = [name for name in OPTIONAL if name in data.columns]
    return {ours: data.columns.get(ours, ours) for ours in (*kinds, *optional)}


def check_map(data: Data, kinds: Sequence[str]) -> None:
    """Raise InputError where the column map has an unknown column."""
    known = (*kinds, *OPTIONAL)
    for ours in data.columns:
        if ours not in known:
            raise InputError(
                f"params.yaml: data.columns: {ours!r} is not one of {', '.join(known)}{nearest(ours, known)}"
            )


def wanted_columns(data: Data, kinds: Mapping[str, str]) -> dict[str, str]:
    """The table's columns that params ask for: the key that does."""
    return dict.fromkeys(data.slices, "data.slices") | {
        theirs: f"data.columns.{ours}" if ours in data.columns else "task"
        for ours, theirs in task_columns(data, kinds).items()
    }


def column_kinds(data: Data, kinds: Mapping[str, str]) -> dict[str, str]:
    """The kinds of the task's columns by the table's names of them."""
    return {data.columns.get(ours, ours): kind for ours, kind in kinds.items()}


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
    blank = next((other for other in names[:1000] if other.strip() == name), None)
    if blank:
        return f": did you mean {blank!r}, with its blanks?"
    close = get_close_matches(name.lower(), [other.lower() for other in names[:1000] if NAME.fullmatch(other)], n=1)
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


def images(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """A column of image files' bytes, untouched: validate names the rows that are none."""
    if column.null_count == len(column):
        raise InputError(f"{where}: no row has an image")
    if not pa.types.is_large_binary(column.type):
        raise InputError(f"{where}: holds {column.type}, not images")
    return column


def as_numbers(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """A column of numbers as float64, faults and all: validate names the rows.

    What is missing (null, NaN, blank) is null, what is written and is no number NaN, and infinity stays.
    """
    kind = column.type
    if pa.types.is_boolean(kind):
        found = column.cast(pa.int8()).cast(pa.float64())
    elif (pa.types.is_primitive(kind) and not pa.types.is_temporal(kind)) or pa.types.is_decimal(kind):
        wide = column.cast(pa.float64(), safe=False)
        found = pc.if_else(pc.is_nan(wide), pa.scalar(None, pa.float64()), wide)
    else:
        written = pc.ascii_trim_whitespace(in_words(column, where))
        known = pc.if_else(pc.match_substring_regex(written, NUMBER), written, "nan").cast(pa.float64())
        found = pc.if_else(pc.equal(written, ""), pa.scalar(None, pa.float64()), known)
    if not pc.any(pc.is_finite(found)).as_py():
        raise InputError(f"{where}: no row has a number")
    return found


def names(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """A column of names: 1, 1.0 and " 1 " are "1", true is "true", an empty one and NaN are null."""
    written = in_words(column, where)
    try:
        values = pc.unique(written)
        found = values.to_pylist()
    except UnicodeDecodeError:
        row = next(row for row, value in enumerate(column, 1) if not is_utf8(value))
        raise InputError(f"{where}: row {row} is not UTF-8") from None
    spell = spell_number if pa.types.is_floating(column.type) else str.strip
    spelled = pa.array([None if value is None else spell(value) or None for value in found], pa.string())
    return pc.take(spelled, pc.index_in(written, value_set=values))


def in_words(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """A column's values as Arrow writes them, instants without the zeros behind their seconds, durations with a unit.

    Raise InputError for what has no name: lists, bytes and the like.
    """
    kind = column.type
    try:
        if pa.types.is_nested(kind) or BYTES.search(str(kind)):
            raise InputError(f"{where}: holds {kind}, not names")
        written = (as_written(column) if pa.types.is_floating(kind) else column).cast(pa.string())
    except pa.ArrowException:
        raise InputError(f"{where}: holds {kind}, not names") from None
    if pa.types.is_duration(kind):
        return pc.binary_join_element_wise(written, kind.unit, " ")
    if pa.types.is_temporal(kind):
        naive = written if getattr(kind, "tz", None) is None else column.cast(pa.timestamp(kind.unit)).cast(pa.string())
        if pc.any(pc.starts_with(naive, "<value out of range")).as_py():
            raise InputError(f"{where}: holds {kind} beyond the years that have a name")
        return pc.replace_substring_regex(written, r"\.0+(Z|[+-]\d{4})?$", r"\1")
    return written


def as_written(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Floats of any width as float64, 0.1 of 32 bits as 0.1 and not as 0.10000000149011612."""
    wide = column.cast(pa.float64())
    return pc.if_else(pc.equal(pc.floor(wide), wide), wide, column.cast(pa.string()).cast(pa.float64()))


def spell_number(written: str) -> str:
    """One float: a whole number without a point as long as floats tell whole numbers apart, NaN as nothing."""
    number = float(written)
    if math.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() and abs(number) < EXACT else str(number)


def is_utf8(value: pa.Scalar) -> bool:
    """Whether a string scalar can be decoded."""
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def numbers(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A column as float64, NaN and infinity as null, or None where it does not hold numbers alone.

    Codes are none, such as 01, nor are numbers that float64 would make one, such as ids beyond 2^53.
    """
    if pa.types.is_boolean(column.type) or pa.types.is_temporal(column.type) or column.null_count == len(column):
        return None
    try:
        written = column if pa.types.is_primitive(column.type) else pc.utf8_trim_whitespace(column.cast(pa.string()))
        known = written if pa.types.is_primitive(column.type) else pc.if_else(pc.equal(written, ""), None, written)
        values = known.cast(pa.float64())
        finite = pc.is_finite(values)
        if not pa.types.is_floating(column.type) and not distinct_in_float64(known.filter(finite)):
            return None
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return pc.if_else(finite, values, None)


def distinct_in_float64(column: pa.ChunkedArray) -> bool:
    """Whether float64 has one number for each of a column's, and none of them is a code with a leading zero."""
    found = pc.unique(column.cast(pa.string())).drop_null()
    if pc.any(pc.match_substring_regex(found, r"^[+-]?0[0-9]")).as_py():
        return False
    if (pc.max(pc.utf8_length(found)).as_py() or 0) <= DIGITS:
        return True
    try:
        exact = set(map(Decimal, found.to_pylist()))
    except InvalidOperation:
        return False
    return len(exact) == len(set(map(float, exact)))


READERS = {"text": texts, "category": names, "number": as_numbers, "image": images}
"""By the kind of a task's column."""
