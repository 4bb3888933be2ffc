"""The base model of a translator: whatever of transformers encodes a text and decodes another; or none."""

from pathlib import Path

from bonafide.pretrained.dry_run_cache import once

HEAD = "SEQ_TO_SEQ_CAUSAL_LM"


def check(folder: Path | None) -> None:
    """Raise InputError unless the model in `folder` can be loaded, run and trained as a translator of texts."""
    if folder is not None:
        once(f"trains as {HEAD}", folder, lambda: _try(folder))


def _try(folder: Path) -> int:
    from bonafide.pretrained.dry_run import check_loads  # imports torch

    check_loads(folder, HEAD)
    return 1
