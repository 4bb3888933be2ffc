"""What may be wrong with a table of texts: quality.texts.corpus."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from bonafide.quality.checks import Check
from bonafide.quality.figures import Figure
from bonafide.quality.rows import Examined
from bonafide.quality.texts import corpus


def examine(table: pa.Table, params: Any) -> Examined:
    """Faults of texts, and personal data."""
    return corpus.examine(table, params.validate)


def checks(kept: pa.Table, params: Any) -> list[Check]:
    """Enough rows; how much lines repeat, and what test has that train lacks or has already."""
    return corpus.checks(kept, params.validate)


def show(kept: pa.Table, splits: Sequence[str], params: Any) -> list[Figure]:  # noqa: ARG001
    """Characters of splits and of texts."""
    return corpus.show(kept, splits)
