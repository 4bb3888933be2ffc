"""There is no base model: regression learns from the table alone."""

from pathlib import Path

from bonafide.project.errors import InputError


def check(folder: Path | None) -> None:
    """Raise InputError where params name a base model."""
    if folder is not None:
        raise InputError("params.yaml: model: regression learns from the table alone: set it to null")
