"""What validate found, as facts for other stages and as a page for people: counts, names and ids, never texts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from bonafide.project.arrays import Ints
from bonafide.quality.expectations import Check, as_facts
from bonafide.quality.splits import FITTED
from bonafide.quality.text_faults import Mask
from bonafide.reporting import charts

SHOWN = 200  # quarantined rows on the page; the table beside it has all
DRAWN = 12  # labels or values in a chart
BINS = 24

Facts = dict[str, Any]
Faults = dict[str, Mask]


def plain(reason: str) -> str:
    """A reason as people say it."""
    return reason.replace("_", " ")


@dataclass(frozen=True)
class Quarantine:
    """Rows that are not passed on, each with all its reasons."""

    faults: Faults
    """(n,) bool per reason, over all rows."""

    @property
    def rows(self) -> Mask:
        """(n,) bool: has a reason."""
        rows: Mask = np.logical_or.reduce(list(self.faults.values()))
        return rows

    def counts(self) -> dict[str, int]:
        """Rows per reason; their sum exceeds the rows, since a row keeps all its reasons."""
        return {name: int(mask.sum()) for name, mask in self.faults.items()}

    def table(self, ids: pa.ChunkedArray, splits: pa.Array) -> pa.Table:
        """Columns id, split and reasons (list of strings) of the quarantined rows, in their order."""
        names = sorted(self.faults)
        rows = np.flatnonzero(self.rows)
        matrix = np.stack([self.faults[name][rows] for name in names], axis=1)
        offsets = np.concatenate(([0], np.cumsum(matrix.sum(axis=1)))).astype(np.int32)
        reasons = pa.ListArray.from_arrays(pa.array(offsets), pa.array(names).take(pa.array(np.nonzero(matrix)[1])))
        at = pa.array(rows)
        return pa.table({"id": ids.take(at), "split": splits.take(at), "reasons": reasons})


def count(kept: pa.Table, order: Sequence[str], labels: Sequence[str]) -> Ints:
    """Rows (splits, labels) int64 by the columns `split` and `label`, which hold nothing else."""
    split = pc.index_in(kept["split"], value_set=pa.array(order, pa.string())).to_numpy().astype(np.int64)
    label = pc.index_in(kept["label"], value_set=pa.array(labels, pa.string())).to_numpy()
    rows = np.bincount(split * len(labels) + label, minlength=len(order) * len(labels))
    return rows.reshape(len(order), len(labels)).astype(np.int64)


def reading_order(names: Sequence[str]) -> list[str]:
    """Train, validation, test, then held-out splits by name."""
    return [name for name in FITTED if name in names] + sorted(set(names) - set(FITTED))


def by_split(rows: Ints, order: Sequence[str], declared: Sequence[str]) -> dict[str, dict[str, int]]:
    """Rows per split and label, in the order people read them in."""
    return {name: dict(zip(declared, rows[order.index(name)].tolist(), strict=True)) for name in reading_order(order)}


def shares(splits: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, float]]:
    """Each label's share of its split."""
    totals = {name: max(sum(rows.values()), 1) for name, rows in splits.items()}
    return {name: {label: n / totals[name] for label, n in rows.items()} for name, rows in splits.items()}


def histogram(values: Sequence[float]) -> Facts:
    """Counts in equal bins up to the 99th percentile; the last one also holds what is above."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return {"edges": [0.0, 1.0], "counts": [0]}
    low, high = float(known.min()), float(np.quantile(known, 0.99))
    counts, edges = np.histogram(known.clip(max=high), bins=BINS, range=(low, high if high > low else low + 1))
    return {"edges": [round(edge, 6) for edge in edges.tolist()], "counts": counts.tolist()}


def slice_facts(column: pa.ChunkedArray) -> Facts:
    """A histogram of numbers, or the rows of the most frequent other values."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return {"histogram": histogram(column.drop_null().to_pylist())}
    counted = sorted(
        pc.value_counts(column.cast(pa.string())).to_pylist(), key=lambda c: (-c["counts"], c["values"] or "")
    )
    return {"values": [[c["values"] or "none", c["counts"]] for c in counted[:DRAWN]], "others": len(counted[DRAWN:])}


def verdict(rows: int, quarantined: int, checks: Sequence[Check]) -> str:
    """The sentence that matters."""
    broken = sum(not check.passed for check in checks)
    if broken:
        return f"The data do not pass: {broken} of {len(checks)} expectations are broken."
    return f"The data pass: {rows - quarantined:,} of {rows:,} rows go on, {quarantined:,} are set aside."


def draw(facts: Facts) -> dict[str, Markup]:
    """The page's charts: labels by split, lengths, reasons and each slice column."""
    splits, lengths = facts["splits"], facts["lengths"]
    totals: Counter[str] = Counter()
    for rows in splits.values():
        totals.update(rows)
    series = {label: [facts["shares"][split][label] for split in splits] for label, _ in totals.most_common(DRAWN)}
    rows_of = [(split, sum(rows.values())) for split, rows in splits.items()]
    figures = {
        "Share of each label in each split": charts.grouped_bars(list(splits), series, label="Label shares by split"),
        "Rows in each split": charts.bars(rows_of, label="Rows by split"),
        "Characters per text": charts.histogram(lengths["edges"], lengths["counts"], label="Characters per text"),
    }
    for name, found in facts["slices"].items():
        title = f"Rows by {name}"
        if "histogram" in found:
            figures[title] = charts.histogram(**found["histogram"], label=title)
        else:
            figures[title] = charts.bars([(value, n) for value, n in found["values"]], label=title)
    return figures


def as_checks(checks: Sequence[Check]) -> list[Facts]:
    """Checks as facts, the broken ones first."""
    return as_facts(sorted(checks, key=lambda check: check.passed))
