"""Which queries and which keys of a packed batch belong to which text."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch

from bonafide.forward.block_attention import SHORT, Blocks
from bonafide.project.arrays import Ints


@dataclass
class Spans:
    """Texts that lie end to end: the queries of each, and the keys that they attend to."""

    queries: list[int]
    """Of each text."""
    keys: list[int]
    """Of each text: as many as queries, or the tokens of the text that it translates."""
    _blocks: dict[tuple[int, bool], Blocks] = field(default_factory=dict, repr=False)

    def blocks(self, heads: int, *, causal: bool) -> Blocks:
        """The layout for `block_attention`, which all layers share."""
        kind = heads, causal
        if kind not in self._blocks:
            self._blocks[kind] = Blocks(self.queries, self.keys, heads, causal=causal)
        return self._blocks[kind]

    @property
    def runs(self) -> list[tuple[int, int, int]]:
        """(texts, queries, keys) of each run of neighbours that are equally long."""
        return [(len(list(equal)), *size) for size, equal in groupby(zip(self.queries, self.keys, strict=True))]

    @cached_property
    def is_cross(self) -> bool:
        """Whether a text, and not its first token alone, has other numbers of queries than of keys."""
        return any(1 != q != k for q, k in zip(self.queries, self.keys, strict=True))

    @cached_property
    def is_short(self) -> npt.NDArray[np.bool_]:
        """(n,) whether a text is short enough for `block_attention`."""
        return np.maximum(self.queries, self.keys) <= SHORT

    @cached_property
    def parts(self) -> "tuple[Spans, Spans]":
        """The short texts, and the others."""
        if self.is_short.all():
            return self, Spans([], [])
        both = np.array([self.queries, self.keys])
        few, rest = (Spans(*both[:, chosen].tolist()) for chosen in (self.is_short, ~self.is_short))
        return few, rest

    @cached_property
    def orders(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """The rows of queries, and of keys, with those of short texts first; None where they lie so already."""
        if (self.is_short[:-1] >= self.is_short[1:]).all():
            return None, None
        queries, keys = (self._short_first(np.array(lengths)) for lengths in (self.queries, self.keys))
        return queries, keys

    def _short_first(self, lengths: Ints) -> torch.Tensor:
        is_long = np.repeat(~self.is_short, lengths)
        return torch.from_numpy(np.argsort(is_long, kind="stable"))
