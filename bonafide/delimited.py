"""CSV and TSV files (RFC 4180) to Arrow, each column as text; errors name a row, never what is in it."""

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv

from bonafide.errors import InputError
from bonafide.text_files import BLOCK, MAX_FIELD, LongLineError, first_invalid_byte, lines

DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_delimited(path: Path) -> pa.Table:
    """Read a file in UTF-8, with or without a BOM, whose first row is its header; an empty unquoted field is null."""
    delimiter = DELIMITERS[path.suffix.lower()]
    check_utf8(path, delimiter)
    header = read_header(path, delimiter)
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        ragged.append(row)
        return "error"

    try:
        table = arrow_csv.read_csv(
            path,
            # One thread: with several, pyarrow does not number the rows of its errors.
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=MAX_FIELD),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                check_utf8=False,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid:
        raise InputError(f"{path}: {explain(path, delimiter, ragged)}") from None
    check_quotes(path, delimiter)
    return table


def check_utf8(path: Path, delimiter: str) -> None:
    """Raise InputError with the byte offset and the row of the first byte that is not UTF-8."""
    offset = first_invalid_byte(path)
    if offset is not None:
        row, _ = scan(path, delimiter, offset + 1)
        where = f"row {row - 1}" if row > 1 else "the header"
        raise InputError(f"{path}: byte {offset}, in {where}, is not UTF-8: save the file as UTF-8")


def read_header(path: Path, delimiter: str) -> list[str]:
    """The column names; raise InputError where there is no header."""
    try:
        return next(row for row in csv.reader(lines(path), delimiter=delimiter) if row)
    except StopIteration:
        raise InputError(f"{path}: empty, without even a header") from None
    except (csv.Error, LongLineError):
        raise InputError(f"{path}: the header has a field of over {csv.field_size_limit():,} characters") from None


def scan(path: Path, delimiter: str, end: int | None = None) -> tuple[int, str]:
    """Rows, the header included, up to byte `end` or to the first that breaks, and what broke."""
    count, limit = 0, csv.field_size_limit(MAX_FIELD)
    try:
        for row in csv.reader(lines(path, end), delimiter=delimiter, strict=end is None):
            count += bool(row)
    except LongLineError:
        return count + 1, "limit"
    except csv.Error as error:
        return count + 1, str(error)
    finally:
        csv.field_size_limit(limit)
    return count, ""


def explain(path: Path, delimiter: str, ragged: list[Any]) -> str:
    """What pyarrow could not read, in one line."""
    if ragged:
        row = ragged[0]
        return f"row {row.number - 1} has {row.actual_columns} fields, the header {row.expected_columns}"
    row, problem = scan(path, delimiter)
    if row == 1:
        return "no rows, only a header"
    if "limit" in problem:
        return f"row {row - 1} has a field of over {MAX_FIELD // 2**20} MiB, or a quote that is never closed"
    return f"row {row - 1} cannot be read: {problem or 'not a table'}"


def check_quotes(path: Path, delimiter: str) -> None:
    """Raise InputError where a quoted field runs to the end of the file, and pyarrow took the rows in it for text."""
    with path.open("rb") as file:
        quotes = sum(block.count(b'"') for block in iter(lambda: file.read(BLOCK), b""))
    if quotes % 2 == 1:
        row, problem = scan(path, delimiter)
        if problem == "unexpected end of data":
            raise InputError(f"{path}: row {row - 1} opens a quote that is never closed")
