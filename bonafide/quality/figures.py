"""What there is to show of a table, as plain data: findings.json keeps it, the pages draw it (reporting.figures)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

DRAWN = 12  # values of a column in a chart
BINS = 24

Figure = dict[str, Any]
"""`kind` and `title`, and by the kind:

bars          rows: [name, number] each
grouped_bars  groups (names), series (name: a number for each group)
histogram     edges, counts
table         columns (`title` and `kind`: name, text or count), rows (lists of cells), caption
"""


def bars(title: str, rows: Mapping[str, float]) -> Figure:
    """A bar for each name."""
    return {"kind": "bars", "title": title, "rows": [[name, number] for name, number in rows.items()]}


def grouped_bars(title: str, groups: Sequence[str], series: Mapping[str, Sequence[float]]) -> Figure:
    """For each group, a bar of every series."""
    return {"kind": "grouped_bars", "title": title, "groups": list(groups), "series": dict(series)}


def histogram(title: str, values: Sequence[float]) -> Figure:
    """Counts in equal bins up to the 99th percentile; the last one also holds what is above."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return {"kind": "histogram", "title": title, "edges": [0.0, 1.0], "counts": [0]}
    low, high = float(known.min()), float(np.quantile(known, 0.99))
    counts, edges = np.histogram(known.clip(max=high), bins=BINS, range=(low, high if high > low else low + 1))
    shown = [round(edge, 6) for edge in edges.tolist()]
    return {"kind": "histogram", "title": title, "edges": shown, "counts": counts.tolist()}


def column(title: str, values: pa.ChunkedArray) -> Figure:
    """A histogram of numbers, or the rows of the most frequent other values."""
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return histogram(title, values.drop_null().to_pylist())
    counted = sorted(
        pc.value_counts(values.cast(pa.string())).to_pylist(), key=lambda c: (-c["counts"], c["values"] or "")
    )
    return bars(title, {c["values"] or "none": c["counts"] for c in counted[:DRAWN]})
