"""JSON Lines files to Arrow; errors name a line, never what is in it."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import json as arrow_json

from bonafide.errors import InputError
from bonafide.text_files import MAX_FIELD, LongLineError, first_invalid_byte, lines

MAX_NESTING = 500  # Python's own parser gives up at about 1,000 levels, pyarrow crashes at some 10,000
KINDS = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}


def read_jsonlines(path: Path) -> pa.Table:
    """Read one JSON object a line; a key that a row lacks is null there."""
    offset = first_invalid_byte(path)
    if offset is not None:
        row = sum(1 for _ in lines(path, offset + 1))
        raise InputError(f"{path}: byte {offset}, in line {row}, is not UTF-8: save the file as UTF-8")
    check_nesting(path)
    try:
        table = read(path, {})
        # pyarrow takes "2024-01-31" for a time and would not spell it the same again.
        times = {field.name: pa.string() for field in table.schema if pa.types.is_timestamp(field.type)}
        return read(path, times) if times else table
    except pa.ArrowInvalid:
        raise InputError(f"{path}: {explain(path)}") from None


def check_nesting(path: Path) -> None:
    """Raise InputError at a row that is nested so deeply that pyarrow would overflow its stack and crash."""
    with contextlib.suppress(LongLineError):  # pyarrow refuses such a line, and `explain` names it
        for row, line in enumerate(lines(path), 1):
            if line.count("{") + line.count("[") > MAX_NESTING:
                problem = check_row(line, {})
                if problem:
                    raise InputError(f"{path}: line {row} {problem}")


def read(path: Path, types: dict[str, pa.DataType]) -> pa.Table:
    """Read `path` with some columns' types given and the others inferred."""
    return arrow_json.read_json(
        path,
        read_options=arrow_json.ReadOptions(block_size=MAX_FIELD),
        parse_options=arrow_json.ParseOptions(explicit_schema=pa.schema(types) if types else None),
    )


def explain(path: Path) -> str:
    """What pyarrow could not read, in one line: the first line that is no object or changes a column's type."""
    kinds: dict[str, str] = {}
    row = 0
    try:
        for row, line in enumerate(lines(path), 1):
            problem = check_row(line, kinds) if line.strip() else ""
            if problem:
                return f"line {row} {problem}"
    except LongLineError:
        return f"line {row + 1} has a field of over {MAX_FIELD // 2**20} MiB"
    return "not JSON Lines" if row else "empty"


def check_row(line: str, kinds: dict[str, str]) -> str:
    """What is wrong with one line, else an empty string; `kinds` collects the type of each column."""
    try:
        pairs: Any = json.loads(line, object_pairs_hook=lambda items: items)
        json.dumps(pairs, ensure_ascii=False).encode()  # half a surrogate pair has no UTF-8
    except (ValueError, RecursionError):
        return "is not JSON in UTF-8"
    if not line.lstrip().startswith("{"):
        return "is not an object"
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        return f"has the column {max(names, key=names.count)!r} twice"
    for name, value in pairs:
        kind = kinds.setdefault(name, KINDS[type(value)]) if value is not None else ""
        if kind and kind != KINDS[type(value)]:
            return f"has {KINDS[type(value)]} in the column {name!r}, where rows before it have {kind}"
    return ""
