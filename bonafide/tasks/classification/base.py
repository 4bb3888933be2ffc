"""The base model of a classifier: whatever transformers can put a classification head on."""

from pathlib import Path

from bonafide.pretrained.dry_run import check_loads

HEAD = "SEQUENCE_CLASSIFICATION"


def check(folder: Path) -> None:
    """Raise InputError unless the model in `folder` can be loaded, run and trained as a classifier of texts."""
    check_loads(folder, HEAD)
