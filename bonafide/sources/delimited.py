"""CSV and TSV to Arrow, each column as text: Python's csv module checks a file, pyarrow reads it, both count its rows.

The csv module knows lines, so that a refusal names one; it never says what is in it.
"""

import contextlib
import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv

from bonafide.project.errors import InputError
from bonafide.sources.columns import check_columns
from bonafide.sources.table_file import Contents, compression_note, kind
from bonafide.sources.text_files import (
    MAX_FIELD,
    MAX_LINE,
    find_encoding,
    open_bytes,
    read_lines,
    unpacking,
)

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
EXPECTED = {".csv": ",", ".tsv": "\t"}
SEP = re.compile(r'"?sep=([\t !#-/:-@\[-`{-~])"?[\r\n]*', re.IGNORECASE)  # Excel's own first line
BLOCKS = (2**22, 2**26)  # bytes; a row must fit into one, and the small one is twice as fast
REASONS = {
    "mixed line ends": "ends in another way than the lines before it, of CR and LF: a CR in a text must be in quotes",
    "expected after": "has text after a closing quote",
    "unexpected end of data": "opens a quote that is never closed",
    "larger": f"has a field of over {MAX_FIELD // 2**20} MiB, or opens a quote that is never closed",
}


@dataclass
class Reading:
    """What a file is when it is read in one way."""

    header: list[str] = field(default_factory=list)
    rows: int = 0
    fault: str = ""
    """Why it cannot be read so, with the line; empty where it can."""
    loose: int = 0
    """The first line with a quote in an unquoted field, which RFC 4180 does not allow; 0: none."""
    spans: int = 0
    """The first line of a quoted field that runs over lines each of which is a whole row by itself; 0: none.

    One with doubled quotes in it is beyond doubt."""
    holding: int = 0
    """Fields with a quote in them, as read."""
    wrapped: int = 0
    """Of those the ones that begin and end with one."""
    escaped: int = 0
    """The first line with a quote after a backslash; 0: none."""

    def note(self, first: int, row: list[str], raw: str, delimiter: str) -> None:
        """Look closer at a row that has quotes."""
        inner = [value for value in row if '"' in value]
        self.holding += len(inner)
        self.wrapped += sum(len(value) > 1 and value[0] == value[-1] == '"' for value in inner)
        if not self.loose and raw.count('"') < 2 * sum(value.count('"') for value in inner):
            self.loose = first
        if not self.escaped and '\\"' in raw:
            self.escaped = first
        lines = [] if self.spans or inner else re.split(r"\r\n|\r|\n", delimiter.join(row))
        if len(lines) > 1 and all(line.count(delimiter) == len(row) - 1 for line in lines):
            self.spans = first


@dataclass(frozen=True)
class Form:
    """How the bytes are to be taken."""

    path: Path
    encoding: str
    delimiter: str
    skip: int
    """Lines before the header."""

    def records(self, *, quoted: bool) -> Iterator[tuple[int, list[str], str]]:
        """The number of each row's first line, its fields and its text; raise csv.Error with the number."""
        taken: list[str] = []
        quoting: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reader = csv.reader(self._keep(taken), delimiter=self.delimiter, quoting=quoting, strict=True)
        ends: set[str] = set()
        first, bare = self.skip + 1, False
        try:
            for row in reader:
                end = taken[-1][-1]
                if end in "\r\n" and (row or not bare):  # some files have CR CR LF
                    note_end(ends, end)
                bare = end == "\r"
                if row:
                    yield first, row, "".join(taken)
                first += len(taken)
                taken.clear()
        except csv.Error as error:
            reason = next((words for part, words in REASONS.items() if part in str(error)), f"is no row: {error}")
            hint = ": a quote in it is written twice, not after a backslash" if '\\"' in "".join(taken) else ""
            raise csv.Error(f"line {first} {reason}{hint}") from None

    def _keep(self, taken: list[str]) -> Iterator[str]:
        """The lines, which go into `taken`, too: those of one row, or csv.Error."""
        size = 0
        for line in islice(read_lines(self.path, self.encoding), self.skip, None):
            size = size + len(line) if taken else len(line)
            if size > MAX_LINE:
                raise csv.Error("row larger than a line")
            taken.append(line)
            yield line

    def scan(self, *, quoted: bool) -> Reading:
        """Read all rows and keep none."""
        reading, limit = Reading(), csv.field_size_limit(MAX_FIELD)
        try:
            for first, row, text in self.records(quoted=quoted):
                if not reading.header:
                    reading.header = row
                    continue
                if len(row) != len(reading.header):
                    fields = f"{len(row)} field{'s' if len(row) > 1 else ''}"
                    reading.fault = f"line {first} has {fields}, the header {len(reading.header)}"
                    break
                reading.rows += 1
                if '"' in text:
                    reading.note(first, row, text, self.delimiter)
        except csv.Error as error:
            reading.fault = str(error)
        finally:
            csv.field_size_limit(limit)
        if not reading.header and not reading.fault:
            reading.fault = "empty, without even a header"
        return reading


def note_end(ends: set[str], end: str) -> None:
    """Add what a row ends in; raise csv.Error where some end in CR alone and others in LF."""
    ends.add(end)
    if len(ends) > 1:
        raise csv.Error("mixed line ends")


def read_delimited(path: Path, wanted: Mapping[str, str], quotes: str = "auto") -> Contents:
    """Read the `wanted` columns; an empty unquoted field is null. Raises InputError with the line of what is wrong.

    `quotes` is `double` (RFC 4180), `none` (they are text like any other) or `auto`: whichever is beyond doubt.
    """
    form = find_form(path, wanted, quotes)
    quoted, reading = decide(form, quotes)
    check_columns(reading.header, wanted, str(path))
    columns = [name for name in reading.header if name in wanted]
    table = read_values(form, columns, quoted=quoted) if reading.rows else pa.table({c: pa.nulls(0) for c in columns})
    if table.num_rows != reading.rows:
        raise InputError(f"{path}: one reader finds {reading.rows} rows and another {table.num_rows}: not read")
    named = DELIMITERS.get(form.delimiter, repr(form.delimiter))
    words = (
        f"{named}, {'quotes of RFC 4180' if quoted else 'no quotes'}, {form.encoding.upper()}{compression_note(path)}"
    )
    return Contents(table, [(name, "text") for name in reading.header], words)


def find_form(path: Path, wanted: Mapping[str, str], quotes: str) -> Form:
    """The encoding, and the delimiter: that of a `sep=` line, else of the suffix, else what the header has instead."""
    encoding = find_encoding(path)
    sep = SEP.fullmatch(next(read_lines(path, encoding), ""))
    if sep:
        return Form(path, encoding, sep[1], 1)
    expected = EXPECTED[kind(path)]
    headers = {}
    for delimiter in sorted(DELIMITERS, key=lambda mark: mark != expected):
        try:
            found = next(Form(path, encoding, delimiter, 0).records(quoted=quotes != "none"), None)
        except csv.Error:
            continue
        headers[delimiter] = found[1] if found else []
    fits = [mark for mark, header in headers.items() if len(header) > 1 and wanted.keys() <= set(header)]
    splits = [mark for mark, header in headers.items() if len(header) > 1]
    return Form(path, encoding, (*fits, *splits, expected)[0], 0)


def decide(form: Form, quotes: str) -> tuple[bool, Reading]:
    """Whether quotes enclose fields, and the reading; raise InputError where that is in doubt or the file broken."""
    reading = form.scan(quoted=quotes != "none")
    doubtful = reading.fault or reading.loose or reading.spans
    if quotes == "auto" and doubtful:
        plain = form.scan(quoted=False)
        if not plain.fault and plain.header == reading.header:
            refuse_doubtful(form.path, reading, plain)
            return False, plain
        if not reading.fault and reading.spans and (reading.loose or form.delimiter == "\t"):
            raise several_rows(form.path, reading)
    if reading.fault:
        raise InputError(f"{form.path}: {reading.fault}")
    return quotes != "none", reading


def refuse_doubtful(path: Path, reading: Reading, plain: Reading) -> None:
    """Raise InputError unless a file that can be read without quotes can only be meant so."""
    if not reading.fault and reading.spans:
        raise several_rows(path, reading)
    if plain.wrapped * 2 > plain.holding or plain.escaped:
        fault = reading.fault or f"line {reading.loose} has a quote inside a field that is not quoted"
        raise InputError(f"{path}: {fault}; if quotes are a part of the texts, set data.quotes to none")


def several_rows(path: Path, reading: Reading) -> InputError:
    """The refusal of a file whose quoted fields may be several rows."""
    return InputError(
        f"{path}: line {reading.spans} opens a quoted field that runs over lines each of which is a whole row: "
        "set data.quotes to double if it is one field, to none if quotes are a part of the texts"
    )


def read_values(form: Form, columns: list[str], *, quoted: bool) -> pa.Table:
    """Read a file that was scanned."""
    parse = arrow_csv.ParseOptions(
        delimiter=form.delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted
    )
    convert = arrow_csv.ConvertOptions(
        include_columns=columns,
        column_types=dict.fromkeys(columns, pa.string()),
        check_utf8=False,
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )
    for block in BLOCKS:
        options = arrow_csv.ReadOptions(use_threads=False, block_size=block, skip_rows=form.skip)
        with unpacking(form.path), open_bytes(form.path) as raw:
            bare = form.encoding.startswith("utf-8")
            stream = raw if bare else pa.transcoding_input_stream(raw, form.encoding, "utf-8")
            with contextlib.suppress(pa.ArrowInvalid):  # whose words may be a row's
                return arrow_csv.open_csv(stream, options, parse, convert).read_all()
    raise InputError(f"{form.path}: has a row of over {BLOCKS[-1] // 2**20} MiB, or two readers disagree: not read")
