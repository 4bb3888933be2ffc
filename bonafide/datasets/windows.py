"""Documents cut into windows that a language model reads at once: each token is predicted once, from those before it.

A window predicts the tokens from `begins` to `ends` of the flat ids; what it reads is the token before each of them, or
the start token where a document begins. For training, documents are cut anew each epoch, so that a token has another
context each time. For evaluation, windows overlap by half, and only what has half a window before it is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from bonafide.project.arrays import Arrays, Bools, Floats, Ints
from bonafide.project.randomness import hashed_uniform


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of one split, with its documents."""

    input_ids: npt.NDArray[np.int32]
    """(tokens,) int32, of all documents, end to end."""
    offsets: Ints
    """(documents + 1,) int64 positions in `input_ids`."""
    names: npt.NDArray[np.str_]
    """(documents,) row ids."""
    characters: Ints
    """(documents,) of their texts."""
    context: int
    """The most tokens of a window."""
    documents: Ints
    """(n,) int64, of which document each window is."""
    begins: Ints
    """(n,) int64 positions in `input_ids` of the first token that a window predicts."""
    counted: Ints
    """(n,) int64, and of the first one that is counted."""
    ends: Ints
    """(n,) int64, and behind the last."""

    def __len__(self) -> int:
        """The number of windows."""
        return len(self.begins)

    @property
    def ids(self) -> npt.NDArray[np.str_]:
        """(n,) the row id of each window's document."""
        found: npt.NDArray[np.str_] = self.names[self.documents]
        return found

    @cached_property
    def lengths(self) -> Ints:
        """(n,) tokens that are read."""
        return self.ends - self.begins

    @cached_property
    def units(self) -> Ints:
        """(n,) tokens whose prediction counts."""
        return self.ends - self.counted

    def take(self, rows: Sequence[int] | Ints) -> Self:
        """Windows `rows` alone, in that order."""
        parts = {name: getattr(self, name)[rows] for name in ("documents", "begins", "counted", "ends")}
        return replace(self, **parts)

    def positions(self, rows: Ints) -> tuple[Ints, Ints]:
        """Where the tokens that windows `rows` predict lie in `input_ids`, end to end, and in their windows, from 0."""
        lengths = self.lengths[rows]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(self.begins[rows], lengths) + within, within

    def is_counted(self, positions: Ints, rows: Ints) -> Bools:
        """Whether the predictions of windows `rows` at `positions` count."""
        found: Bools = positions >= np.repeat(self.counted[rows], self.lengths[rows])
        return found

    def targets(self, positions: Ints) -> Ints:
        """The tokens at `positions`."""
        return self.input_ids[positions].astype(np.int64)

    def read(self, positions: Ints, rows: Ints, start: int) -> Ints:
        """What windows `rows` read to predict the tokens at `positions`: those before them, or `start`."""
        first = positions == np.repeat(self.offsets[self.documents[rows]], self.lengths[rows])
        return np.where(first, start, self.input_ids[positions - 1]).astype(np.int64)

    def sum_by_document(self, values: Floats) -> Floats:
        """The sums (documents, k) of what each window has, (n, k)."""
        sums = np.zeros((len(self.names), values.shape[1]))
        np.add.at(sums, self.documents, values)
        return sums


def for_evaluation(arrays: Arrays) -> Windows:
    """Windows half a context apart, of a split's arrays: all tokens of the first count, of the others the later half.

    So each token is counted once, from at least half a context, or from all of its document before it.
    """
    context, none = int(arrays["context"][0]), np.zeros(0, dtype=np.int64)
    names, offsets = arrays["ids"], np.asarray(arrays["offsets"])
    uncut = Windows(arrays["input_ids"], offsets, names, arrays["characters"], context, *[none] * 4)
    first = np.minimum(np.diff(uncut.offsets), context)
    return _cut(uncut, first, context - context // 2, context // 2)


def for_training(windows: Windows, seed: int, epoch: int) -> Windows:
    """The same documents cut anew into windows that do not overlap, by the length of the first one.

    That is drawn by (seed, epoch, row id) among those that give a document the same number of windows each time: of
    a document of q contexts and r tokens, from r to a context where r is below half of one, else from 1 below r. A
    document that fits into a window is not cut.
    """
    context, lengths = windows.context, np.diff(windows.offsets)
    rest = (lengths - 1) % context + 1
    low, high = np.where(rest * 2 < context, [rest, np.full_like(rest, context)], [np.ones_like(rest), rest - 1])
    drawn = hashed_uniform([f"{epoch} {name}" for name in windows.names.tolist()], seed)
    first = low + np.floor(drawn * (high - low + 1)).astype(np.int64)
    return _cut(windows, np.where(lengths <= context, lengths, first), context, 0)


def _cut(uncut: Windows, first: Ints, stride: int, overlap: int) -> Windows:
    """The windows of documents whose first one has `first` (documents,) tokens, and each further one `stride` more.

    Of those before them they read `overlap` tokens again, which are not counted again.
    """
    lengths = np.diff(uncut.offsets)
    numbers = np.where(lengths > 0, 1 + -(-(lengths - first) // stride), 0)
    documents = np.repeat(np.arange(len(lengths)), numbers)
    place = np.arange(len(documents)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    counted = np.where(place == 0, 0, first[documents] + (place - 1) * stride)
    ends = np.minimum(first[documents] + place * stride, lengths[documents])
    begins, at = np.maximum(counted - overlap, 0), uncut.offsets[documents]
    return replace(uncut, documents=documents, begins=at + begins, counted=at + counted, ends=at + ends)
