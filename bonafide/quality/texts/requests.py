"""Texts as they come to a service: which can be answered, and the masks that validate put into those of training."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bonafide.project.errors import InputError
from bonafide.protocol import Rows
from bonafide.quality import pii

REQUEST = 1_000_000  # characters of all its texts: some 30 s of work on 2 cores, half of MLflow's patience


def refuse(rows: Rows, column: str, low: int, high: int) -> None:
    """Raise InputError that names the first row whose `column` is no text of `low` to `high` characters."""
    for number, row in enumerate(rows):
        reason = fault(row[column], low, high)
        if reason:
            raise InputError(f"row {number}: {reason}")
    total = sum(len(row[column]) for row in rows)
    if total > REQUEST:
        raise InputError(f"{total:,} characters are more than the {REQUEST:,} of a request: send several")


def fault(text: Any, low: int, high: int) -> str:
    """Why the model cannot judge a text, or nothing."""
    if not isinstance(text, str):
        return f"a text is wanted, not {'null' if text is None else type(text).__name__}"
    if not text.strip():
        return "the text is blank"
    if not low <= len(text) <= high:
        return f"the text has {len(text):,} characters: the model was judged on texts of {low:,} to {high:,}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair is no character"
    return ""


def mask(texts: Sequence[str]) -> list[str]:
    """What `pii.scan` makes of them: it looks through a million texts first, which costs 5 ms for a single one."""
    everywhere = np.ones((len(pii.KINDS), len(texts)), dtype=np.bool_)
    return pii.mask_rows((list(texts), everywhere))[0]
