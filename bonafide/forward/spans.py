"""Which queries and which keys of a packed batch belong to which text."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from bonafide.forward.block_attention import Blocks


class Parts(NamedTuple):
    """Texts that are short, and the others, each in their order."""

    short: "Spans"
    long: "Spans"
    queries: torch.Tensor | None = None
    """The rows of all queries, those of short texts first; None where they lie so already."""
    keys: torch.Tensor | None = None
    """As `queries`."""


@dataclass
class Spans:
    """Texts that lie end to end: the queries of each, and the keys that they attend to."""

    queries: list[int]
    """Of each text."""
    keys: list[int]
    """Of each text: as many as queries, or the tokens of the text that it translates."""
    low_precision: bool = False
    """Whether products of bf16 are taken in it; else in fp32, as the bytes of trained classifiers rest on."""
    _blocks: dict[tuple[int, bool, torch.dtype], Blocks] = field(default_factory=dict, repr=False)
    _parts: dict[int, Parts] = field(default_factory=dict, repr=False)

    def blocks(self, heads: int, dtype: torch.dtype, *, causal: bool) -> Blocks:
        """The layout for `block_attention`, which all layers share."""
        kind = heads, causal, dtype
        if kind not in self._blocks:
            self._blocks[kind] = Blocks(self.queries, self.keys, heads, causal=causal, dtype=dtype)
        return self._blocks[kind]

    @property
    def runs(self) -> list[tuple[int, int, int]]:
        """(texts, queries, keys) of each run of neighbours that are equally long."""
        return [(len(list(equal)), *size) for size, equal in groupby(zip(self.queries, self.keys, strict=True))]

    @cached_property
    def is_cross(self) -> bool:
        """Whether a text, and not its first token alone, has other numbers of queries than of keys."""
        return any(1 != q != k for q, k in zip(self.queries, self.keys, strict=True))

    def parts(self, most: int) -> Parts:
        """Texts of at most so many queries and keys, and the others."""
        if most not in self._parts:
            self._parts[most] = self._divide(np.maximum(self.queries, self.keys) <= most)
        return self._parts[most]

    def _divide(self, is_short: npt.NDArray[np.bool_]) -> Parts:
        if is_short.all():
            return Parts(self, Spans([], []))
        both = np.array([self.queries, self.keys])
        short, long = (Spans(*both[:, chosen].tolist()) for chosen in (is_short, ~is_short))
        if (is_short[:-1] >= is_short[1:]).all():
            return Parts(short, long)
        orders = (np.argsort(np.repeat(~is_short, lengths), kind="stable") for lengths in both)
        return Parts(short, long, *map(torch.from_numpy, orders))
