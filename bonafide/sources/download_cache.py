"""Verified downloads, kept for the next clone in the user's cache folder: <cache>/bonafide/<key>/<file>.

The key is a hash of content, so that an entry cannot be the wrong one; whoever reads an entry verifies its bytes again.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import platformdirs

from bonafide.project.files import sha256

NO_HASH = "0" * 64


def entry(key: str) -> Path:
    """The folder of an entry, there or not."""
    return platformdirs.user_cache_path("bonafide") / key


def find(key: str) -> Path | None:
    """The file of an entry whose key is its SHA-256, if there is one that has it."""
    return next((file for file in sorted(entry(key or NO_HASH).glob("*")) if sha256(file) == key), None)


def keep(key: str, files: Iterable[Path]) -> None:
    """Copy `files` into an entry, in place of a corrupt one; a cache that cannot be written is no cache."""
    folder = entry(key)
    temporary = folder.with_name(f".{key}.{os.getpid()}")
    with contextlib.suppress(OSError):
        temporary.mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, temporary / file.name)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    shutil.rmtree(temporary, ignore_errors=True)
