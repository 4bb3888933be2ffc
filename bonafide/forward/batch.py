"""Texts for one pass: what the model is called with, and where each text lies in its rows."""

from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import torch

from bonafide.forward.block_attention import SHORT, Blocks

NAME = "packed"  # of the attention among transformers' implementations, and of the argument that it gets


@dataclass
class Batch:
    """Texts for one pass: what the model is called with, and where each text lies in its rows."""

    tensors: dict[str, torch.Tensor]
    """Ids and where they stand, or ids and mask."""
    labels: torch.Tensor
    """(n,) int64."""
    lengths: list[int]
    """Rows of each text: its tokens, or the padded length; ascending, but for what fills `slots`."""
    first: torch.Tensor
    """(n,) int64, the row of each text's first token."""
    last: torch.Tensor | None = field(default=None, repr=False)
    """(n,) int64, the row of each text's last token that is no padding, for models that read it."""
    prefix_activations: torch.Tensor | None = field(default=None, repr=False)
    """(1, tokens, d) float32, what the lowest trained layer reads, if that is known: the model begins there."""
    hidden: torch.Tensor | None = field(default=None, repr=False)
    """(tokens, d), what the last layer read: its keys and values need all tokens, its queries the first only."""
    laid_out: dict[tuple[int, bool], Blocks] = field(default_factory=dict, repr=False)
    """By number of heads and whether they are causal; shared by the layers."""
    bounds: torch.Tensor | None = field(default=None, repr=False)
    """(n + 1,) int32, the row of each text's first token and the end of the last: for the variable-length kernel."""
    longest: int = 0
    """The most rows that this kernel must look for in a text."""
    shares: torch.Tensor = field(default_factory=partial(torch.ones, 1), repr=False)
    """(n,) float32, the share of each text in the mean loss of a step; or one of all of them."""

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of the model, without labels."""
        return self.tensors | ({NAME: self} if "position_ids" in self.tensors else {})

    @property
    def parts(self) -> list[torch.Tensor]:
        """All that may differ between packed batches of one shape, in one order."""
        found = [
            *self.tensors.values(),
            self.labels,
            self.first,
            self.last,
            self.prefix_activations,
            self.bounds,
            self.shares,
        ]
        return [tensor for tensor in found if tensor is not None]

    @property
    def short(self) -> int:
        """How many texts, the first ones, are short."""
        return sum(length <= SHORT for length in self.lengths)

    def blocks(self, heads: int, *, causal: bool = False) -> Blocks:
        """The layout of the short texts."""
        kind = heads, causal
        if kind not in self.laid_out:
            self.laid_out[kind] = Blocks(self.lengths[: self.short], heads, causal=causal)
        return self.laid_out[kind]

    @property
    def runs(self) -> list[tuple[int, int]]:
        """(texts, length) of each run of equal lengths."""
        return [(len(list(equal)), length) for length, equal in groupby(self.lengths)]
