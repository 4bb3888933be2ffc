"""Token ids of one split as flat arrays, memory-mapped: `input_ids[offsets[i]:offsets[i + 1]]` is text i.

npy files are deterministic and need no copy to be read; `datasets.save_to_disk` changes its fingerprint at every save.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bonafide.project.arrays import Arrays, Ints
from bonafide.project.files import replacing

STORED = ("input_ids", "offsets", "labels", "ids")
LEADING = ("train", "validation", "test")  # the order people read splits in; held-out ones follow by name


@dataclass(frozen=True, eq=False)  # arrays have no equality; by identity, what is kept about a split can be found
class Tokens:
    """One tokenized split."""

    input_ids: npt.NDArray[np.int32]
    """(tokens,) int32, flat."""
    offsets: Ints
    """(n + 1,) int64 positions in `input_ids`."""
    labels: Ints
    """(n,) int64 class indices."""
    ids: npt.NDArray[np.str_]
    """(n,) row ids."""
    prefix_activations: npt.NDArray[np.float32] | None = None
    """(tokens, d) float32, what the lowest trained layer reads of each token, if `engine.activation_cache` has it."""

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.labels)

    @cached_property
    def lengths(self) -> Ints:
        """Tokens per text, (n,) int64."""
        return np.diff(self.offsets)

    @property
    def arrays(self) -> Arrays:
        """As they are stored."""
        return {name: getattr(self, name) for name in STORED}

    @property
    def units(self) -> Ints:
        """What the loss of each text is a mean over, (n,): its one label."""
        return np.ones(len(self), dtype=np.int64)

    def take(self, rows: Sequence[int] | Ints) -> "Tokens":
        """Texts `rows` alone, in that order."""
        return pack(self.some(rows), self.labels[list(rows)], self.ids[list(rows)].tolist())

    def some(self, rows: Sequence[int] | Ints) -> list[list[int]]:
        """The token ids of texts `rows`."""
        return [self.input_ids[self.offsets[row] : self.offsets[row + 1]].tolist() for row in rows]


def pack(texts: Sequence[Sequence[int]], labels: Ints, ids: Sequence[str]) -> Tokens:
    """Lay the ids of each text end to end."""
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    flat = np.fromiter((token for text in texts for token in text), dtype=np.int32, count=offsets[-1])
    return Tokens(flat, offsets, labels.astype(np.int64), np.array(ids, dtype=np.str_))


def write(folder: Path, arrays: Arrays) -> None:
    """Write the arrays of a split as `.npy` files."""
    for name, array in arrays.items():
        with replacing(folder / f"{name}.npy") as file:
            np.save(file, array, allow_pickle=False)


def read(folder: Path) -> Arrays:
    """Map the arrays of a split, read-only."""
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}


def read_tokens(folder: Path) -> Tokens:
    """Map the arrays of a split of texts, read-only."""
    return Tokens(**read(folder))


def read_splits(folder: Path) -> list[str]:
    """The splits in `folder`: train, validation, test, then the held-out ones by name."""
    names = {path.parent.name for path in folder.glob("*/ids.npy")}
    return [name for name in LEADING if name in names] + sorted(names - set(LEADING))
