"""Text files that somebody else wrote, streamed: compressed or not, in any encoding of Unicode, line by line."""

import codecs
import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from bonafide.project.errors import InputError

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".xz": "xz"}
MAX_FIELD = 2**24  # bytes of one field; a longer one is a broken file, and would cost its size several times over
MAX_LINE = 2 * MAX_FIELD  # characters; a row may have several long fields
BLOCK = 2**20
SAMPLE = 2**12
BOMS = {  # UTF-32's first: the little-endian one begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
OTHERS = {  # what begins so is no text, whatever its name says
    b"PAR1": "Parquet: name it .parquet",
    b"PK\3\4": "a ZIP archive, as an Excel workbook is: unpack it, or save it as CSV",
    b"\x1f\x8b": "packed by gzip: let its name end in .gz",
    b"BZh": "packed by bzip2: let its name end in .bz2",
    b"\x28\xb5\x2f\xfd": "packed by zstd: let its name end in .zst",
}
BARE = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


def open_bytes(path: Path) -> Any:
    """Open a file for reading what was compressed in it; raise InputError where it may not be read."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    try:
        if compression == "xz":
            return pa.PythonFile(lzma.open(path), mode="r")
        return pa.input_stream(path, compression=compression)
    except PermissionError:
        raise InputError(f"{path}: not readable: permission denied") from None


@contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """Raise InputError for a file that cannot be unpacked; the disk's own errors pass."""
    try:
        yield
    except (OSError, EOFError, lzma.LZMAError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise InputError(f"{path}: cannot be unpacked: {error}; is it whole?") from None


def find_encoding(path: Path) -> str:
    """The codec of a file's first 4 kB: of its BOM, else UTF-8, or where NULs abound what gives the most ASCII.

    Raises InputError where the file is no text.
    """
    with unpacking(path), open_bytes(path) as file:
        sample = file.read(SAMPLE)
    for mark, what in OTHERS.items():
        if sample.startswith(mark) and not sample.isascii():
            raise InputError(f"{path}: is {what}")
    for bom, encoding in BOMS.items():
        if sample.startswith(bom):
            return encoding
    return max(BARE, key=lambda encoding: ascii_share(sample, encoding)) if b"\0" in sample else "utf-8"


def ascii_share(sample: bytes, encoding: str) -> float:
    """The share of visible ASCII and white space in a sample, half of it where it is broken; broken UTF-8 has none."""
    decoder, share = codecs.getincrementaldecoder(encoding), 1.0
    try:
        text = decoder().decode(sample)
    except UnicodeDecodeError:
        text, share = decoder("replace").decode(sample), 0.0 if encoding == "utf-8" else 0.5
    return share * sum(c.isascii() and (c.isprintable() or c.isspace()) for c in text) / max(len(text), 1)


@contextmanager
def open_text(path: Path, encoding: str, newline: str | None = "") -> Iterator[TextIO]:
    """A file's text; raise InputError where its bytes are broken."""
    with unpacking(path), open_bytes(path) as raw, io.TextIOWrapper(raw, encoding, newline=newline) as file:
        try:
            yield file
        except UnicodeDecodeError:
            raise undecodable(path, encoding) from None


def read_lines(path: Path, encoding: str) -> Iterator[str]:
    """The lines with their ends: LF, CRLF or CR. Raises InputError where bytes are broken or a line is too long."""
    number = 1
    with open_text(path, encoding) as file:
        while line := file.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise InputError(f"{path}: line {number} has a field of over {MAX_FIELD // 2**20} MiB")
            yield line
            number += 1


def read_blocks(path: Path, encoding: str) -> Iterator[str]:
    """Pieces of at most a million characters, their line ends LF. Raises InputError where bytes are broken."""
    with open_text(path, encoding, newline=None) as file:
        while block := file.read(BLOCK):
            yield block


def undecodable(path: Path, encoding: str) -> InputError:
    """The refusal of a file that is not of its encoding, with the byte and the line where it ceases to be."""
    encoding = encoding.removesuffix("-sig")  # whose decoder does not count the BOM
    decoder, ends = codecs.getincrementaldecoder(encoding)(), io.IncrementalNewlineDecoder(None, translate=True)
    offset, line, valid = 0, 1, 0
    with open_bytes(path) as file:
        while True:
            block, pending = file.read(BLOCK), len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                valid = error.start - pending
                line += ends.decode(decoder.decode(block[: max(valid, 0)]), final=True).count("\n")
                break
            line += ends.decode(text).count("\n")
            offset += len(block)
    return InputError(f"{path}: byte {offset + valid}, in line {line}, is not {encoding.upper()}: save it as UTF-8")
