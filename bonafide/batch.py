"""Texts for one pass: what the model is called with, and where each text lies in its rows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bonafide.blocks import SHORT, Blocks

NAME = "packed"  # of the attention among transformers' implementations, and of the argument that it gets


@dataclass
class Batch:
    """Texts for one pass: what the model is called with, and where each text lies in its rows."""

    tensors: dict[str, torch.Tensor]
    """Ids and where they stand, or ids and mask."""
    labels: torch.Tensor
    """(n,) int64."""
    lengths: list[int]
    """Rows of each text: its tokens, ascending, or the padded length."""
    first: torch.Tensor
    """(n,) int64, the row of each text's first token."""
    below: torch.Tensor | None = field(default=None, repr=False)
    """(1, tokens, d) float32, what the lowest trained layer reads, if that is known: the model begins there."""
    hidden: torch.Tensor | None = field(default=None, repr=False)
    """(tokens, d), what the last layer read: its keys and values need all tokens, its queries the first only."""
    laid_out: dict[int, Blocks] = field(default_factory=dict, repr=False)
    """By number of heads; shared by the layers."""
    bounds: torch.Tensor | None = field(default=None, repr=False)
    """(n + 1,) int32, the row of each text's first token and the end of the last: for the variable-length kernel."""

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of the model, without labels."""
        return self.tensors | ({NAME: self} if "position_ids" in self.tensors else {})

    @property
    def short(self) -> int:
        """How many texts, the first ones, are short."""
        return sum(length <= SHORT for length in self.lengths)

    def blocks(self, heads: int) -> Blocks:
        """The layout of the short texts."""
        if heads not in self.laid_out:
            self.laid_out[heads] = Blocks(self.lengths[: self.short], heads)
        return self.laid_out[heads]

    @property
    def runs(self) -> list[tuple[int, int]]:
        """(texts, length) of each run of equal lengths."""
        values, counts = np.unique(self.lengths, return_counts=True)
        return list(zip(counts.tolist(), values.tolist(), strict=True))
