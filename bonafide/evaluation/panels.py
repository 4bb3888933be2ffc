"""What a task shows of its model, as plain data: evaluation.json keeps it, and the report draws whatever it finds."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Kind = Literal["name", "text", "count", "score", "percent", "estimate", "interval"]
"""How values are written: `text` is of the data, `estimate` has value, low and high, `interval` draws them."""


class Column(TypedDict):
    """A column of a table."""

    title: str
    kind: Kind


class Picture(TypedDict):
    """A row of the data as pictures, with what there is to say of it."""

    images: Sequence[str]
    """data: URIs of PNG files that are our own."""
    words: Sequence[str]
    """A line each."""


class Group(TypedDict):
    """Pictures that belong together."""

    title: str
    items: Sequence[Picture]


class Panel(TypedDict, total=False):
    """Something to show of a split, as plain data. Which keys it has follows from its kind.

    matrix     names, counts (lists, one for each name), x and y (what the names are across and down)
               or names_x, names_y (words of the data), values (numbers from 0 up, a list for each of names_y)
    scatter    points of `x` and `y`, with whiskers where there is `low` and `high` and sizes where there is `rows`;
               x, y (names of the axes); diagonal (whether to draw y = x)
    histogram  edges (one more than counts), counts
    table      columns, rows (lists of cells), mark (where to draw a line in the intervals)
    samples    columns, rows and ids of rows of the data, the most telling first: as many are shown as params ask for
    gallery    groups of pictures, the most telling first: as many of each are shown as params ask for; side (pixels of
               the pictures)

    Panels with words or pictures of the data are kept of the test split only, and shown on the page only.
    """

    kind: Literal["matrix", "scatter", "histogram", "table", "samples", "gallery"]
    title: str
    caption: str
    names: Sequence[str]
    counts: Sequence[Any]
    names_x: Sequence[str]
    names_y: Sequence[str]
    values: Sequence[Sequence[float]]
    points: Sequence[Mapping[str, float]]
    x: str
    y: str
    diagonal: bool
    edges: Sequence[float]
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    mark: float
    ids: Sequence[str]
    groups: Sequence[Group]
    side: int


def columns(kinds: Mapping[str, Kind]) -> list[Column]:
    """Columns by their titles."""
    return [{"title": title, "kind": kind} for title, kind in kinds.items()]


def quotes(panel: Panel) -> bool:
    """Whether it holds words or pictures of the data."""
    return panel["kind"] in ("samples", "gallery") or "names_x" in panel
