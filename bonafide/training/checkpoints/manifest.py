"""A sealed folder: files of tensors and a manifest, on the disk whole or not at all, and verified before use.

It is written under a temporary name, every file and the folder are synced, and one rename makes it what it is. The
manifest holds the sha256 and size of each file and the sha256 of itself, so that no byte can change unseen. Files
are safetensors: to read one runs no code of its writer.
"""

import json
import os
import shutil
import signal
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

State = dict[str, torch.Tensor]
# What reading a folder can raise that anybody may have changed; RecursionError: JSON of a thousand brackets.
DAMAGE = (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, SafetensorError)


def store(
    target: Path, states: Mapping[str, State | None], content: dict[str, Any], links: Mapping[str, tuple[Path, Any]]
) -> dict[str, Any]:
    """Write a folder, in the place of one of that name if there is one; return its manifest's record of each file.

    For a file that is None, `links` has a folder to link it from and its record there. A disk that is full, or the
    like, is an OSError, and what stood there before stays.
    """
    temporary, old = target.with_suffix(f".tmp-{os.getpid()}"), target.with_suffix(".old")
    files: dict[str, Any] = {}
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # of a dead process that had this number
        temporary.mkdir(parents=True)
        for name, state in states.items():
            path = temporary / f"{name}.safetensors"
            if state is None:
                folder, files[name] = links[name]
                link(folder / path.name, path)
            else:
                files[name] = write(path, state)
        _fault("save:before_manifest")
        (temporary / "manifest.json").write_bytes(seal(content | {"format": 1, "files": files}))
        sync(temporary / "manifest.json")
        sync(temporary)
        _fault("save:before_rename")
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
            _fault("save:in_replace")
        temporary.rename(target)
        _fault("save:after_rename")
        sync(target.parent)
    except SafetensorError as problem:  # what safetensors makes of an OSError
        raise OSError(str(problem)) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return files


def write(path: Path, state: State) -> dict[str, Any]:
    """Write a file of tensors; what the manifest says of it."""
    save_file(state, path)  # unlike `save` and its bytes, without a second copy, and without the interpreter's lock
    _fault("save:in_file")
    sync(path)
    return record(path)


def link(old: Path, new: Path) -> None:
    """Give a file a second name, or where the file system has no such thing, copy it."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)
        sync(new)


def sync(path: Path) -> None:
    """Have a file or a folder on the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def record(path: Path) -> dict[str, Any]:
    """What the manifest says of a file."""
    with path.open("rb") as file:
        return {"sha256": file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def seal(content: dict[str, Any]) -> bytes:
    """JSON with the sha256 of all else that is in it."""
    text = json.dumps(content | {"sha256": ""}, allow_nan=False)
    content = content | {"sha256": sha256(text.encode()).hexdigest()}
    return json.dumps(content, indent=1, allow_nan=False).encode()


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint that is byte for byte as it was written; else raise one of DAMAGE."""
    if folder.is_symlink() or any(path.is_symlink() or not path.is_file() for path in folder.iterdir()):
        raise ValueError("holds something other than plain files")
    try:
        raw = (folder / "manifest.json").read_bytes()
        manifest: dict[str, Any] = json.loads(raw)
        intact = raw == seal(manifest) and folder.stem == f"step-{manifest['step']:08d}" and manifest["format"] == 1
    except DAMAGE:
        intact = False
    if not intact:
        raise ValueError("manifest.json is missing or changed")
    for name, expected in manifest["files"].items():
        path = folder / f"{name}.safetensors"
        if missing := expected["size"] - path.stat().st_size:
            raise ValueError(f"{path.name} is {abs(missing)} bytes {'short' if missing > 0 else 'too long'}")
        if record(path) != expected:
            raise ValueError(f"{path.name} does not match its sha256")
        with safe_open(path, framework="pt"):
            pass
    return manifest


def _fault(point: str) -> None:
    """For the crash tests: die as by `kill -9` where BONAFIDE_FAULT names this point."""
    if os.environ.get("BONAFIDE_FAULT") == point:
        os.kill(os.getpid(), signal.SIGKILL)
