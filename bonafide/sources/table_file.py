"""One file of a table: how it is named, and what a reader hands on."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from bonafide.sources.text_files import COMPRESSIONS


class Contents(NamedTuple):
    """A file that was read."""

    table: pa.Table
    """The columns that params ask for."""
    columns: list[tuple[str, str]]
    """Every column's name and type."""
    form: str
    """How it was read, in words."""


def kind(path: Path) -> str:
    """The suffix that tells the format, in small letters, before that of a compression: `.csv` of `A.CSV.gz`."""
    suffix = path.suffix.lower()
    return path.with_suffix("").suffix.lower() if suffix in COMPRESSIONS else suffix


def compression_note(path: Path) -> str:
    """`, gzip` of `A.CSV.gz`, for `Contents.form`."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    return f", {compression}" if compression else ""
