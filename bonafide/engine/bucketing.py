"""Few shapes: the shards of a step are filled up to equally many texts and tokens, and to sizes that come again.

A CUDA graph holds one shape, and steps of random texts have as many shapes as steps. What is filled in has no share in
the loss: its gradients are zeros, which change no sum. The sizes are those of the whole step, so that they are equal in
every process, and a shard has the same bits wherever it lies.
"""

from typing import NamedTuple

import numpy as np

from bonafide.project.arrays import Bools, Ints

FEW, MANY = 4, 16  # sizes from a power of two to the next: of texts, which cost little; of tokens, which fill up 3 %


class Slots(NamedTuple):
    """What each shard of a step has place for."""

    texts: int
    tokens: int


class Texts(NamedTuple):
    """The texts of a pass, shard after shard."""

    rows: Ints
    """(n,) where they begin: rows of a split; 0 where filled."""
    lengths: Ints
    """(n,) tokens from there on; those filled in reach into the rows after it."""
    real: Bools
    """(n,) whether they are not filled in."""
    cuts: Ints
    """(shards + 1,) boundaries of the shards in texts."""


def size(count: int, steps: int) -> int:
    """The next of `steps` sizes between a power of two and the one after it."""
    step = max(1, (1 << (int(count).bit_length() - 1)) // steps)
    return -(-int(count) // step) * step


def slots(lengths: Ints, cuts: Ints, longest: int) -> Slots:
    """Slots for texts of such lengths and cuts; what they leave can be filled by texts of 1 to `longest` tokens."""
    counts, tokens = np.diff(cuts), np.diff(np.append(0, np.cumsum(lengths))[cuts])
    texts = int(counts.max())
    while True:
        texts = size(texts + 1, FEW)
        spare = texts - counts
        most = size((tokens + spare).max(), MANY)
        if (most - tokens <= spare * longest).all():
            return Slots(texts, most)


def fill(rows: Ints, lengths: Ints, cuts: Ints, slots: Slots | None) -> Texts:
    """The shards of a pass, `rows` and their lengths parted by `cuts`, each filled up to its slots if there are any."""
    if slots is None:
        return Texts(rows, lengths, np.ones(len(rows), dtype=np.bool_), cuts)
    counts, tokens = np.diff(cuts), np.diff(np.append(0, np.cumsum(lengths))[cuts])
    real = np.arange(slots.texts) < counts[:, None]
    each, more = np.divmod(slots.tokens - tokens, slots.texts - counts)
    taken = each[:, None] + (np.cumsum(~real, axis=1) <= more[:, None])
    begins = np.zeros_like(taken)
    begins[real], taken[real] = rows, lengths
    return Texts(begins.ravel(), taken.ravel(), real.ravel(), np.arange(len(cuts)) * slots.texts)
