"""The files in a tar archive, one after the other, in memory: nothing is written to disk, and no link is followed."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from bonafide.project.errors import InputError

SUFFIXES = (".tar", ".tgz", ".tar.gz")
GZIP = b"\x1f\x8b"
MAX_MEMBER = 2**28  # bytes; CIFAR-100's largest has 155 million
MAX_ALL = 2**30
MAX_MEMBERS = 100


def is_archive(path: Path) -> bool:
    """Whether a name is that of a tar archive."""
    return path.name.lower().endswith(SUFFIXES)


class Unpacked(io.RawIOBase):
    """What was packed, up to MAX_ALL bytes: a header of tar's may be as long as a file, and tarfile holds it whole."""

    def __init__(self, path: Path) -> None:  # noqa: D107
        with path.open("rb") as file:
            packed = file.read(len(GZIP)) == GZIP
        self._file: Any = gzip.GzipFile(path) if packed else path.open("rb")
        self._path, self._size = path, 0

    def read(self, size: int = -1) -> bytes:
        """As a file's; raise InputError where it has come to too much."""
        block: bytes = self._file.read(size)
        self._size += len(block)
        if self._size > MAX_ALL:
            raise too_much(self._path)
        return block

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def read_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """The last part of each file's name and its bytes, in the archive's order; links, folders and devices are left out.

    Raises InputError for a damaged archive, and for one of more members or bytes than any of CIFAR's.
    """
    try:
        with Unpacked(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for number, member in enumerate(archive, 1):
                if number > MAX_MEMBERS or member.size > MAX_MEMBER:
                    raise too_much(path)
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield PurePosixPath(member.name).name, content.read()
    except PermissionError:
        raise InputError(f"{path}: not readable: permission denied") from None
    except InputError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError):  # the last for a number in a header
        raise InputError(f"{path}: not a readable archive: is it whole?") from None


def too_much(path: Path) -> InputError:
    """The refusal of an archive that is none of CIFAR's, by its size."""
    return InputError(f"{path}: an archive of more than any of CIFAR's has: unpack it into a folder of images by class")
