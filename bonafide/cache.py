"""Verified downloads, kept for the next clone in the user's cache folder: <cache>/bonafide/<key>/<file>.

The key is a hash of content, so that an entry cannot be the wrong one; whoever reads an entry verifies its bytes again.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import platformdirs


def entry(key: str) -> Path:
    """The folder of an entry, there or not."""
    return platformdirs.user_cache_path("bonafide") / key


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
