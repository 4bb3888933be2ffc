"""A model folder, checked without loading it: no code to run, and whole weights of a known architecture."""

import json
import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bonafide.project.errors import InputError

MAX_HEADER = 100_000_000  # bytes, safetensors' own limit
CODE = ("auto_map", "custom_pipelines")
OURS = ("bonafide-mlp", "bonafide-cnn")  # architectures of bonafide.vision, as transformers has none


def is_there(folder: Path) -> bool:
    """Whether fetch brought a base model; false for `model: null`."""
    return (folder / "config.json").exists()


def check_model(folder: Path) -> str:
    """The architecture (`model_type`) of a safetensors model; raise InputError where it is not to be used."""
    config = read_object(folder / "config.json")
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).exists():
            refuse_code(folder / name)
    check_shards(folder)
    for file in weights(folder):
        read_shapes(file)
    return check_architecture(config)


def weights(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by name."""
    return sorted(folder.glob("*.safetensors"))


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"base model: no {path.name}") from None
    except (ValueError, RecursionError):
        raise InputError(f"base model: {path.name} is not JSON") from None
    if not isinstance(content, dict):
        raise InputError(f"base model: {path.name} is not a JSON object")
    return content


def refuse_code(path: Path) -> None:
    """Raise InputError where a file names Python code that came with the model."""
    for key in CODE:
        if key in read_object(path):
            raise InputError(f"base model: {path.name} has {key!r}: it wants to run code of its own, which is refused")


def check_architecture(config: dict[str, Any]) -> str:
    """The model_type; raise InputError unless transformers has it."""
    name = config.get("model_type")
    if not isinstance(name, str) or name not in (*OURS, *known_architectures()):
        raise InputError(f"base model: config.json: transformers has no model_type {name!r:.80}")
    return name


def known_architectures() -> dict[str, str]:
    """The table of transformers, run alone: to import it would import torch, which takes 5 s."""
    package = find_spec("transformers")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("transformers")
    table: dict[str, str] = runpy.run_path(str(Path(package.origin).parent / "models/auto/auto_mappings.py"))[
        "CONFIG_MAPPING_NAMES"
    ]
    return table


def check_shards(folder: Path) -> None:
    """Raise InputError where the index of split weights names a file that is not there, or nothing holds weights."""
    index = folder / "model.safetensors.index.json"
    named = read_object(index).get("weight_map", {}) if index.exists() else {}
    missing = sorted({str(file) for file in named.values()} - {file.name for file in weights(folder)})
    if missing:
        raise InputError(f"base model: {index.name} names {missing[0]!r}, which is not there")
    if not weights(folder):
        raise InputError("base model: no *.safetensors file")


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Tensor name: shape, from the header of a safetensors file; raise InputError unless the file is whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > MAX_HEADER:
            raise InputError(f"base model: {path.name} is not a safetensors file")
        text = file.read(length)
    try:
        header = json.loads(text) if len(text) == length else {}
        header.pop("__metadata__", None)
        whole = 8 + length + max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
        shapes = {str(name): [int(side) for side in tensor["shape"]] for name, tensor in header.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise InputError(f"base model: {path.name} is not a safetensors file") from None
    if size != whole:
        raise InputError(f"base model: {path.name} is truncated or damaged: it has {size:,} bytes of {whole:,}")
    return shapes
