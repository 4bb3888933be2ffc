"""Text files that somebody else wrote, scanned in bounded memory: lines, and the first byte that is not UTF-8."""

import codecs
from collections.abc import Iterator
from pathlib import Path

BLOCK = 2**20
MAX_FIELD = 2**24  # bytes of one field; a longer one is a broken file, and would cost its size several times over


class LongLineError(ValueError):
    """A line is longer than any row can be."""


def lines(path: Path, end: int | None = None) -> Iterator[str]:
    """The lines of the first `end` bytes, line ends kept; raise LongLineError at one of over 2 * MAX_FIELD bytes."""
    left = path.stat().st_size if end is None else end
    with path.open("rb") as file:
        while left > 0 and (line := file.readline(min(left, 2 * MAX_FIELD + 1))):
            if len(line) > 2 * MAX_FIELD:
                raise LongLineError
            left -= len(line)
            yield line.decode("utf-8-sig" if file.tell() == len(line) else "utf-8", errors="replace")


def first_invalid_byte(path: Path) -> int | None:
    """Offset of the first byte that does not continue UTF-8, or None."""
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return offset - pending + error.start
            if not block:
                return None
            offset += len(block)
