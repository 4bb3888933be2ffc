"""Whether outputs are what dvc.lock says, in the workspace and in DVC's cache: every byte is read, nothing is changed.

DVC takes a cache object with mode 0444 for whole without reading it, and a file whose size and time it knows for
unchanged.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bonafide.project.files import md5

ALTERED = "altered"  # here, but not as recorded
MISSING = "missing"  # recorded, and not here
UNCACHED = "not in cache"  # here as recorded, but DVC could not bring it back

Hashes = dict[Path, str]  # of the files and folders that are there
Advance = Callable[[int, int], None]  # bytes read, bytes in all


@dataclass(frozen=True)
class Problem:
    """One thing that is not as recorded."""

    kind: str
    path: str
    """In the workspace; of a parameter or a library its name."""
    stage: str = ""
    """Whose output or input it is."""
    object: str = ""
    """Its object in DVC's cache, where that is at fault."""
    note: str = ""
    """What was found, and what helps."""


@dataclass(frozen=True)
class Out:
    """An output as dvc.lock records it; `cache` is DVC's folder of objects."""

    path: Path
    md5: str
    """Ends with .dir for a folder: that is the hash of its listing."""
    stage: str
    kept: bool
    """By DVC; git keeps the others."""
    cache: Path

    def object(self, digest: str) -> Path:
        """Where DVC 3 keeps the bytes with this MD5."""
        return self.cache / digest[:2] / digest[2:]

    @cached_property
    def files(self) -> dict[Path, str]:
        """Its files with their recorded MD5s; the folder as a whole where the cache has no sound listing of it."""
        listing = self.object(self.md5)
        if not self.md5.endswith(".dir") or not listing.exists() or md5(listing) != self.md5.removesuffix(".dir"):
            return {self.path: self.md5}
        return {self.path / entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}

    @property
    def objects(self) -> dict[Path, str]:
        """Its objects in the cache, with the MD5s that their names promise; the paths in `files` in the same order."""
        return {self.object(digest): digest.removesuffix(".dir") for digest in (*self.files.values(), self.md5)}


def check(outs: list[Out], ignored: Callable[[str], bool], advance: Advance) -> tuple[list[Problem], Hashes]:
    """What of `outs` is not as recorded, and the MD5s of all that was read; `ignored` tells which files DVC ignores."""
    hashes = hash_files([path for out in outs for path in (*out.files, *out.objects)], advance)
    return [problem for out in outs for problem in _problems(out, hashes, ignored)], hashes


def hash_files(paths: Iterable[Path], advance: Advance) -> Hashes:
    """MD5s of the files and folders that are there, in parallel threads: hashlib lets others run meanwhile."""
    sizes = {path: size(path) for path in paths if path.exists()}
    done, total, hashes = 0, sum(sizes.values()), {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, digest in zip(sizes, pool.map(md5, sizes), strict=True):
            hashes[path] = digest
            done += sizes[path]
            advance(done, total)
    return hashes


def size(path: Path) -> int:
    """Bytes of a file, or of a folder's files."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def _problems(out: Out, hashes: Hashes, ignored: Callable[[str], bool]) -> Iterator[Problem]:
    lost = [path for path in out.objects if path not in hashes]
    if not out.path.exists():
        yield Problem(MISSING, out.path.as_posix(), out.stage, note=_remedy(out, lost))
    else:
        bad = _differences(out, hashes, ignored)
        yield from (Problem(ALTERED, path.as_posix(), out.stage, note=note) for path, note in bad.items())
        if lost and out.kept and not bad:
            yield Problem(
                UNCACHED, out.path.as_posix(), out.stage, str(lost[0]), f"{len(lost)} objects; try: dvc commit"
            )
    names = {out.object(digest): path for path, digest in out.files.items()}
    for path, promised in out.objects.items():
        if hashes.get(path, promised) != promised:
            name = names.get(path, out.path).as_posix()
            yield Problem(ALTERED, name, out.stage, str(path), f"the cache object's md5 is {hashes[path]}")


def _differences(out: Out, hashes: Hashes, ignored: Callable[[str], bool]) -> dict[Path, str]:
    """What is wrong with an output that is there, by file."""
    bad = {path: "is not there" for path in out.files if path not in hashes}
    for path, recorded in out.files.items():
        if hashes.get(path, recorded) != recorded:
            bad[path] = f"md5 is {hashes[path]}, recorded is {recorded}"
    if out.path not in out.files:
        there = {path for path in out.path.rglob("*") if path.is_file() and not ignored(str(path))}
        bad |= dict.fromkeys(there - out.files.keys(), "is not recorded")
    return dict(sorted(bad.items()))


def _remedy(out: Out, lost: list[Path]) -> str:
    if not out.kept:
        return f"try: git checkout {out.path.as_posix()}"
    return "nor is it in the cache; try: dvc pull, or dvc repro" if lost else "try: dvc checkout"
