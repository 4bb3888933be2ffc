"""The base model of a regression: none."""

from pathlib import Path

from bonafide.project.errors import InputError


def check(folder: Path) -> None:  # noqa: ARG001
    """Raise InputError: a linear model learns from the table alone."""
    raise InputError("params.yaml: model: null is all that regression takes: it has no base model")
