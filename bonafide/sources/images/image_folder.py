"""Image files in a folder, by paths that somebody else wrote: none leads out of it, none is a device, all are small."""

import errno
import os
import stat
from pathlib import Path

from bonafide.project.errors import InputError
from bonafide.sources.images.byte_columns import MAX_IMAGE

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".avif", ".svg")
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # the last for pipes, which would wait for a writer


class RefusedError(ValueError):
    """A cell or a file that is no image of ours; the message says why, as what follows the row's or the file's name."""


def is_image(path: Path) -> bool:
    """Whether a name is that of an image; the gate decodes it, or refuses it by its row."""
    return path.suffix.lower() in SUFFIXES


class ImageFolder:
    """The folder of `data.source`, which DVC tracks whole."""

    def __init__(self, root: Path) -> None:  # noqa: D107
        self.root = root
        self.used: set[str] = set()
        """Paths that were read, relative to the folder."""
        self._real = root.resolve()
        self._inner: dict[str, bool] = {}

    def read(self, path: str, base: str = "") -> bytes | None:
        """The file at a path relative to `base`, itself relative to the folder; None where there is none.

        Raises RefusedError for a path that leads out of the folder, and for what is no file of at most MAX_IMAGE.
        """
        parts = [part for part in f"{base}/{path}".split("/") if part not in ("", ".")]  # a million of Path take 20 s
        if "\0" in path or path.startswith("/") or ".." in parts:
            raise RefusedError(f"leads out of {self.root}: paths are relative to the table, within the folder")
        relative = "/".join(parts)
        self.used.add(relative)
        if not self._is_within("/".join(parts[:-1])):
            raise RefusedError(f"leads out of {self.root} by a link")
        try:
            return self._open(f"{self.root}/{relative}")
        except PermissionError:
            raise InputError(f"{self.root}/{relative}: not readable: permission denied") from None
        except OSError as error:
            if error.errno in ABSENT:
                return None
            raise

    def _is_within(self, folder: str) -> bool:
        if folder not in self._inner:
            self._inner[folder] = self._holds(os.path.realpath(self.root / folder))
        return self._inner[folder]

    def _holds(self, real: str) -> bool:
        return Path(real).is_relative_to(self._real)

    def _open(self, path: str) -> bytes:
        try:
            number = os.open(path, FLAGS)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            target = os.path.realpath(path)
            if not self._holds(target):
                raise RefusedError(f"leads out of {self.root} by a link") from None
            number = os.open(target, FLAGS)
        try:
            return read_small(number)
        finally:
            os.close(number)


def read_small(number: int) -> bytes:
    """What an open file holds; raise RefusedError for a folder, a device and more than MAX_IMAGE bytes."""
    facts = os.fstat(number)
    if not stat.S_ISREG(facts.st_mode):
        raise RefusedError("is not a file")
    if facts.st_size > MAX_IMAGE:
        raise RefusedError(f"is of over {MAX_IMAGE // 2**20} MiB")
    with os.fdopen(number, "rb", closefd=False) as file:
        return file.read(facts.st_size)  # no more: Python would allocate it first, a mapping of memory for each file
