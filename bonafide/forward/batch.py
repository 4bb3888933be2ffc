"""One batch of texts: what the model is called with, and where each text lies in its rows."""

from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch

from bonafide.forward.block_attention import SHORT, Blocks

PACKED = "packed"  # the attention's name in transformers, and of the keyword argument by which it gets the batch


@dataclass
class Batch:
    """Texts for one forward pass, end to end in one row (packed) or padded to a row each."""

    tensors: dict[str, torch.Tensor]
    """Packed: `input_ids` and `position_ids`, (1, tokens). Padded: `input_ids` and `attention_mask`, (n, longest)."""
    labels: torch.Tensor
    """(n,) int64."""
    lengths: list[int]
    """Rows of each text, ascending: its tokens, or the padded length."""
    first: torch.Tensor
    """(n,) int64, the row of each text's first token."""
    last: torch.Tensor | None = field(default=None, repr=False)
    """(n,) int64, the row of each text's last token that is no padding, for heads that read it."""
    prefix_activations: torch.Tensor | None = field(default=None, repr=False)
    """(1, tokens, d) float32, the cached output of the frozen lowest layers, above which the model then begins."""
    hidden: torch.Tensor | None = field(default=None, repr=False)
    """(tokens, d), the last layer's input, where that layer has queries of first tokens only."""
    row_counts: list[list[int]] = field(default_factory=list, repr=False)
    """Of each kind of rows that activations have, how many each text has; as it is made: one, and its tokens."""
    block_layouts: dict[tuple[int, bool], Blocks] = field(default_factory=dict, repr=False)
    """By number of heads and whether attention is causal; shared by the layers."""

    def __post_init__(self) -> None:
        """Each text has a row above the pooling, and those of its tokens below, unless more kinds are named."""
        self.row_counts = self.row_counts or [[1] * len(self.lengths), self.lengths]

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of the model, without labels."""
        return self.tensors | ({PACKED: self} if "position_ids" in self.tensors else {})

    @property
    def short(self) -> int:
        """How many texts, the first ones, are short enough for `block_attention`."""
        return sum(length <= SHORT for length in self.lengths)

    def blocks(self, heads: int, *, causal: bool = False) -> Blocks:
        """The layout of the short texts."""
        kind = heads, causal
        if kind not in self.block_layouts:
            self.block_layouts[kind] = Blocks(self.lengths[: self.short], heads, causal=causal)
        return self.block_layouts[kind]

    @property
    def runs(self) -> list[tuple[int, int]]:
        """(texts, length) of each run of neighbours that are equally long."""
        return [(len(list(equal)), length) for length, equal in groupby(self.lengths)]
