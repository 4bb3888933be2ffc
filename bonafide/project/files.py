"""Files that are whole or absent, with bytes that depend on their content only."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for writing through a temporary name, so that a kill or an error leaves the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` as UTF-8 with its line ends untouched."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON with sorted keys; NaN and infinity raise ValueError, since JSON has neither."""
    text = json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def make_readable(folder: Path, like: str) -> None:
    """Give the files of a folder the mode of the one named `like`: safetensors writes its own for their owner only."""
    mode = (folder / like).stat().st_mode
    for path in folder.iterdir():
        path.chmod(mode)


def inert_cell(value: object) -> str:
    """One CSV cell that no spreadsheet takes for a formula (OWASP, CSV injection); numbers stay numbers."""
    text = "" if value is None else str(value)
    harmless = isinstance(value, int | float) or not text.startswith(("=", "+", "-", "@", "\t", "\r"))
    text = text if harmless else f"'{text}"
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    r"""Write rows as CSV with `\n` line ends and formula-inert cells."""
    lines = [",".join(inert_cell(value) for value in row) for row in (header, *rows)]
    write_text(path, "\n".join(lines) + "\n")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks of 1 MiB."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: Path) -> str:
    """Hex MD5 of a file as DVC 3 computes it, or of a folder: of its sorted listing, plus `.dir`."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    names = sorted(
        p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    )
    listing = json.dumps([{"md5": md5(path / name), "relpath": name} for name in names], sort_keys=True)
    return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"
