"""One batch of texts: what the model is called with, and where each text lies in its rows."""

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch

from bonafide.forward.spans import Spans

PACKED = "packed"  # the attention's name in transformers, and of the keyword argument by which it gets the batch


@dataclass
class Batch:
    """Texts for one forward pass, end to end in one row (packed) or padded to a row each."""

    tensors: dict[str, torch.Tensor]
    """Packed: `input_ids` and `position_ids`, (1, tokens). Padded: `input_ids` and `attention_mask`, (n, longest)."""
    labels: torch.Tensor
    """(n,) int64, of texts; empty where they have none."""
    lengths: list[int]
    """Rows of each text: its tokens, ascending but for texts with translations, or the padded length."""
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
    target_lengths: list[int] | None = None
    """Rows of each text's translation, of which the decoder of a model that has an encoder reads all but the end."""
    targets: torch.Tensor = field(default_factory=partial(torch.empty, 0, dtype=torch.int64), repr=False)
    """(counted,) int64, the token to be predicted at each row that counts, text after text."""
    counts: list[int] = field(default_factory=list, repr=False)
    """How many of each text's rows count."""
    counted: torch.Tensor | None = field(default=None, repr=False)
    """(counted,) int64, the rows that count among those of the model's last layer; None: all, in their order."""

    def __post_init__(self) -> None:
        """Each text has a row above the pooling, and those of its tokens below, unless more kinds are named."""
        self.row_counts = self.row_counts or [[1] * len(self.lengths), self.lengths]

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of the model, without labels."""
        return self.tensors | ({PACKED: self} if "position_ids" in self.tensors else {})

    @cached_property
    def texts(self) -> Spans:
        """Of texts that see themselves."""
        return Spans(self.lengths, self.lengths, low_precision=bool(self.counts))

    @cached_property
    def firsts(self) -> Spans:
        """Of the first token of each text, which sees all of it."""
        return Spans([1] * len(self.lengths), self.lengths)

    @cached_property
    def translations(self) -> Spans | None:
        """Of translations that see themselves; None where the model has no encoder beside its decoder."""
        return (
            None if self.target_lengths is None else Spans(self.target_lengths, self.target_lengths, low_precision=True)
        )

    @cached_property
    def crossings(self) -> Spans:
        """Of translations that see their texts."""
        return Spans(self.target_lengths or [], self.lengths, low_precision=True)
