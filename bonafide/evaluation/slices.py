"""Parts of a split that a reader may ask about: by the user's columns, and by what a task knows of its rows."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bonafide.project.arrays import Floats, Ints

MOST_VALUES = 20  # of a string column; the rest is one slice
MOST_NUMBERS = 10  # distinct; above it a numeric column is cut into quartiles
MISSING, OTHER = "missing", "other"
Named = tuple[Sequence[str], Sequence[str]]
"""The slice of each row, (n,), and all slices in order."""


@dataclass(frozen=True)
class Slice:
    """Rows of a split that share a value."""

    column: str
    value: str
    rows: Ints
    """Their indices."""


def cut(table: pa.Table, columns: Sequence[str], built_in: Mapping[str, Named]) -> list[Slice]:
    """Every slice of a split: by `columns` of its table, then by what is `built_in`.

    Where the table has a column of a built-in name, ours is called `built-in NAME`.
    """
    named = {column: _names(table[column]) for column in columns}
    named |= {_free(name, columns): values for name, values in built_in.items()}
    return [piece for column, (names, order) in named.items() for piece in _pieces(column, names, order)]


def _free(name: str, taken: Collection[str]) -> str:
    """A name of ours that is none of the user's."""
    while name in taken:
        name = f"built-in {name}"
    return name


def _pieces(column: str, names: Sequence[str], order: Sequence[str]) -> list[Slice]:
    place = {name: position for position, name in enumerate(order)}
    at = np.array([place[name] for name in names])
    pieces = [Slice(column, name, np.flatnonzero(at == position)) for name, position in place.items()]
    return [piece for piece in pieces if len(piece.rows)]


def _names(column: pa.ChunkedArray) -> Named:
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return number_names(column.cast(pa.float64()).to_numpy())
    return string_names(column.cast(pa.string()).to_pylist())


def string_names(values: Sequence[str | None]) -> tuple[list[str], list[str]]:
    """The slice of each value and the order of slices: the 20 most frequent values, then `other`, then `missing`.

    Where a value is called so, ours is `built-in other` or `built-in missing`.
    """
    counts = Counter(value for value in values if value is not None)
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_VALUES]
    kept, other, missing = set(frequent), _free(OTHER, counts), _free(MISSING, counts)
    names = [missing if value is None else value if value in kept else other for value in values]
    return names, [*frequent, other, missing]


def number_names(values: Floats) -> tuple[list[str], list[str]]:
    """The slice of each number and their order: each number where there are few, else quartiles, named by their ends.

    Equal numbers share a slice. What is not finite is `missing`.
    """
    known = np.isfinite(values)
    distinct = np.unique(values[known])
    if len(distinct) <= MOST_NUMBERS:
        order = readable(distinct)
        place = np.searchsorted(distinct, values)
    else:
        edges = np.unique(np.quantile(values[known], [0.25, 0.5, 0.75], method="lower"))
        place = np.searchsorted(edges, values, side="left")
        parts = [distinct[np.searchsorted(edges, distinct, side="left") == part] for part in range(len(edges) + 1)]
        ends = readable(np.array([end for part in parts if len(part) for end in (part[0], part[-1])]))
        order = [f"{low} to {high}" if low != high else low for low, high in zip(ends[::2], ends[1::2], strict=True)]
    names = [order[at] if there else MISSING for at, there in zip(place, known, strict=True)]
    return names, [*order, MISSING]


def readable(numbers: npt.NDArray[np.float64]) -> list[str]:
    """Numbers in as few digits, three or more, as tell the different ones apart; whole ones whole."""
    different = len(set(numbers.tolist()))
    for digits in range(3, 18):
        texts = [str(int(x)) if x == int(x) and abs(x) < 1e15 else f"{x:.{digits}g}" for x in numbers.tolist()]
        if len(set(texts)) == different:
            break
    return texts if len(numbers) else []
