"""The base model of an image classifier: whatever transformers can classify images with, or a network of ours."""

from pathlib import Path

from bonafide.pretrained.dry_run_cache import once
from bonafide.pretrained.model_files import OURS, read_object

HEAD = "IMAGE_CLASSIFICATION"


def check(folder: Path | None) -> None:
    """Raise InputError unless the model in `folder` can be loaded, run and trained as a classifier of images."""
    if folder is not None and read_object(folder / "config.json").get("model_type") not in OURS:  # which train has
        once(f"trains as {HEAD}", folder, lambda: _try(folder))


def _try(folder: Path) -> int:
    from bonafide.pretrained.dry_run import check_reads_images  # imports torch

    check_reads_images(folder, HEAD)
    return 1
