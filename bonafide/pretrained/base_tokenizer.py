"""The tokenizer of a base model, kept beside the tokens that it made."""

import shutil
from pathlib import Path

from bonafide.pretrained import tokenizer
from bonafide.pretrained.dry_run_cache import once
from bonafide.project.errors import InputError


def keep(base: Path, folder: Path, head: str, wanted: int, key: str = "max_length") -> None:
    """Copy it, settled, and config.json, by which transformers knows its class; not how the model generates.

    Raise InputError where `wanted` tokens of a text are more than the model, with such a head, has positions for;
    `key` of tokenize asks for them.
    """
    most = once(f"positions up to {wanted}", base, lambda: _positions(base, head, wanted))
    if wanted > most:
        raise InputError(f"params.yaml: tokenize.{key}: {wanted} is above the base model's {most} positions")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(base.iterdir()):
        if "safetensors" not in path.name and path.name != "generation_config.json":
            shutil.copyfile(path, folder / path.name)
    tokenizer.settle(folder)


def _positions(base: Path, head: str, wanted: int) -> int:
    from bonafide.pretrained.dry_run import positions  # imports torch

    return positions(base, head, wanted)
