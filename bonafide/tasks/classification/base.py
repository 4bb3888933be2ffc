"""The base model of a classifier: whatever transformers can put a classification head on."""

from pathlib import Path

from bonafide.pretrained.dry_run_cache import once
from bonafide.project.errors import InputError

HEAD = "SEQUENCE_CLASSIFICATION"


def check(folder: Path | None) -> None:
    """Raise InputError unless the model in `folder` can be loaded, run and trained as a classifier of texts."""
    if folder is None:
        raise InputError("params.yaml: model: null: a classifier of texts is trained from a base model")
    once(f"trains as {HEAD}", folder, lambda: _try(folder))


def _try(folder: Path) -> int:
    from bonafide.pretrained.dry_run import check_loads  # imports torch

    check_loads(folder, HEAD)
    return 1
