"""What may be wrong with a table of texts that a masked language model learns from."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from bonafide.quality.checks import Check
from bonafide.quality.figures import Figure
from bonafide.quality.rows import Examined
from bonafide.quality.texts import corpus


def examine(table: pa.Table, params: Any) -> Examined:
    """Faults of the texts, and personal data in them."""
    return corpus.examine(table, params.validate)


def checks(kept: pa.Table, params: Any) -> list[Check]:
    """Enough rows of each split, and little in test that train has already."""
    return corpus.checks(kept, params.validate)


def show(kept: pa.Table, splits: Sequence[str], params: Any) -> list[Figure]:  # noqa: ARG001
    """Lengths of texts, and how many characters each split has."""
    return corpus.show(kept, splits)
