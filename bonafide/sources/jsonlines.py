"""JSON Lines, and JSON that is an array of objects, to Arrow: values as they are written, by Python's json module.

Errors name a line, never what is in it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from bonafide.project.console import printable
from bonafide.project.errors import InputError
from bonafide.sources.columns import check_columns
from bonafide.sources.table_file import Contents, compression_note, kind
from bonafide.sources.text_files import BLOCK, MAX_LINE, find_encoding, read_blocks, read_lines

BATCH = 2**22  # characters that are decoded before they become Arrow
SPACE = re.compile(r"[ \t\r\n]*")
Pairs = list[tuple[str, Any]]


def unique(pairs: Pairs) -> dict[str, Any] | Pairs:
    """An object, or its pairs where a key is there twice: the only list of tuples that there can be."""
    row = dict(pairs)
    return row if len(row) == len(pairs) else pairs


DECODER = json.JSONDecoder(
    object_pairs_hook=unique,
    parse_int=str,
    parse_float=str,
    parse_constant=lambda word: None if word == "NaN" else word,
)


def read_jsonlines(path: Path, wanted: Mapping[str, str]) -> Contents:
    """Read the `wanted` columns of one object a line; a key that a row lacks is null there, as NaN is.

    Numbers are spelled as they are written, booleans true and false. `.json` may be an array of objects instead.
    """
    encoding = find_encoding(path)
    found = read_documents(path, encoding) if kind(path) == ".json" else read_rows(path, encoding)
    seen: dict[str, Any] = {}
    batches = []
    for numbers, rows in batched(found, path):
        for row in rows:
            seen.update(row)
        arrays = [to_array([row.get(name) for row in rows], numbers, str(path), name) for name in wanted]
        batches.append(pa.record_batch(arrays, names=list(wanted)))
    if not seen and not batches:
        raise InputError(f"{path}: empty")
    check_columns(list(seen), wanted, str(path))
    types = ["nested" if isinstance(value, dict | list) else "text" for value in seen.values()]
    columns = list(zip(map(printable, seen), types, strict=True))
    return Contents(pa.Table.from_batches(batches), columns, f"JSON, {encoding.upper()}{compression_note(path)}")


def batched(found: Iterator[tuple[int, int, Any]], path: Path) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    """Lines and objects of some 4 MB of text each; raise InputError at what is no object, or has a key twice."""
    numbers, rows, size = [], [], 0
    for number, length, row in found:
        if not isinstance(row, dict):
            if isinstance(row, list) and row and isinstance(row[0], tuple):
                names = [name for name, _ in row]
                twice = max(names, key=names.count)
                raise InputError(f"{path}: line {number} has the column {twice[:80]!r} twice")
            raise InputError(f"{path}: line {number} is not an object")
        numbers.append(number)
        rows.append(row)
        size += length
        if size > BATCH:
            yield numbers, rows
            numbers, rows, size = [], [], 0
    if rows:
        yield numbers, rows


def read_rows(path: Path, encoding: str) -> Iterator[tuple[int, int, Any]]:
    """The number, length and value of each line that is not blank."""
    for number, line in enumerate(read_lines(path, encoding), 1):
        text = line.strip(" \t\r\n")
        if not text:
            continue
        try:
            value, end = DECODER.raw_decode(text)
        except (ValueError, RecursionError) as error:
            hint = "; an array, or objects of several lines, go into a .json" if number == 1 and text[0] in "[{" else ""
            raise InputError(f"{path}: line {number} is not JSON{explain(error)}{hint}") from None
        if end < len(text):
            raise InputError(f"{path}: line {number} is not JSON: more than one value, at character {end + 1}")
        yield number, len(text), value


def explain(error: ValueError | RecursionError) -> str:
    """Why a text is not JSON, without its words."""
    if isinstance(error, json.JSONDecodeError):
        return f": {error.msg}, at character {error.pos + 1}"
    return ": nested too deeply"


def read_documents(path: Path, encoding: str) -> Iterator[tuple[int, int, Any]]:
    """The same of a stream of values: the elements of an array, or one value after the other."""
    text = Stream(path, encoding)
    array = text.take("[")
    closed = array and text.take("]")
    while not closed and text.more():
        yield text.value()
        closed = array and not text.take(",")
        if closed and not text.take("]"):
            raise InputError(f"{path}: line {text.line} is not JSON: neither ',' nor ']' after a value")
    if array and not closed:
        raise InputError(f"{path}: line {text.line} is not JSON: the array has no end")
    if text.more():
        raise InputError(f"{path}: line {text.line} is not JSON: more after the array's end")


class Stream:
    """A text that is decoded value by value and never held whole."""

    def __init__(self, path: Path, encoding: str) -> None:  # noqa: D107
        self._path, self._blocks, self._buffer, self._at, self.line = path, read_blocks(path, encoding), "", 0, 1

    def _fill(self) -> bool:
        """Read as much again as is held, at least a block; false at the end."""
        more = "".join(islice(self._blocks, max(1, (len(self._buffer) - self._at) // BLOCK)))
        self._buffer, self._at = self._buffer[self._at :] + more, 0
        return bool(more)

    def _pass(self, end: int) -> None:
        self.line += self._buffer.count("\n", self._at, end)
        self._at = end

    def more(self) -> bool:
        """Whether anything but white space is left."""
        while True:
            space = SPACE.match(self._buffer, self._at)
            self._pass(space.end() if space else self._at)
            if self._at < len(self._buffer):
                return True
            if not self._fill():
                return False

    def take(self, mark: str) -> bool:
        """Pass over `mark` if it comes next."""
        found = self.more() and self._buffer[self._at] == mark
        if found:
            self._pass(self._at + 1)
        return found

    def value(self) -> tuple[int, int, Any]:
        """The next value, with its first line and its length."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._at)
            except (ValueError, RecursionError) as error:
                if self._is_whole(error) or len(self._buffer) > MAX_LINE or not self._fill():
                    raise self._refuse(error) from None
                continue
            line, length = self.line, end - self._at
            self._pass(end)
            return line, length, value

    def _is_whole(self, error: Exception) -> bool:
        """Whether more text would not help: what is wrong is neither a string's end nor near the end."""
        cut = isinstance(error, json.JSONDecodeError) and (
            error.msg.startswith("Unterminated") or error.pos + len("-Infinity") > len(self._buffer)
        )
        return not cut

    def _refuse(self, error: ValueError | RecursionError) -> InputError:
        at = error.pos if isinstance(error, json.JSONDecodeError) else self._at
        line, reason = self.line + self._buffer.count("\n", self._at, at), explain(error).partition(", at character")[0]
        if len(self._buffer) > MAX_LINE:
            reason = f": a value of over {MAX_LINE // 2**20} MiB"
        return InputError(f"{self._path}: line {line} is not JSON{reason}")


def to_array(values: list[Any], numbers: list[int], where: str, name: str) -> pa.Array:
    """A column of strings; raise InputError with the line of the first value that is none."""
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        pass
    spelled = []
    for number, value in zip(numbers, values, strict=True):
        if isinstance(value, dict | list):
            held = "an object" if isinstance(value, dict) else "an array"
            raise InputError(f"{where}: the column {name!r}: line {number} holds {held}, not a value")
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            raise InputError(f"{where}: the column {name!r}: line {number} has half a surrogate pair")
        spelled.append(str(value).lower() if isinstance(value, bool) else value)
    return pa.array(spelled, pa.string())
