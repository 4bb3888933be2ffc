"""The base model of a masked language model: one that transformers can put such a head on, or none."""

from pathlib import Path

from bonafide.pretrained.dry_run_cache import once
from bonafide.project.errors import InputError

HEAD = "MASKED_LM"
TOKENS = ("mask_token", "cls_token", "sep_token")


def check(folder: Path | None) -> None:
    """Raise InputError unless the model in `folder` can be loaded, run and trained to tell hidden tokens."""
    if folder is not None:
        once(f"trains as {HEAD}", folder, lambda: _try(folder))


def _try(folder: Path) -> int:
    from bonafide.pretrained import tokenizer
    from bonafide.pretrained.dry_run import check_loads  # imports torch

    check_loads(folder, HEAD)
    processor = tokenizer.load(folder)
    lacking = [name for name in TOKENS if getattr(processor, name) is None]
    if lacking:
        raise InputError(f"base model: its tokenizer names no {lacking[0]}, without which nothing can be hidden")
    return 1
