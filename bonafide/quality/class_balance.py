"""Whether every class has rows in every split that a model is fitted and tested on, in like shares."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bonafide.project.arrays import Floats, Ints
from bonafide.quality.checks import Check, listed
from bonafide.quality.offers import round_up
from bonafide.quality.splits import FITTED

STANDARD_ERRORS = 3  # within them a difference is chance, but for one in 370 (normal distribution)
NO_ROWS = "bring more, or leave such a label out of task.labels"


def count(kept: pa.Table, splits: Sequence[str], labels: Sequence[str]) -> Ints:
    """Rows (splits, labels) by the columns `split` and `label`; those of other splits and labels are left out."""
    split = pc.fill_null(pc.index_in(kept["split"], value_set=pa.array(splits, pa.string())), -1)
    label = pc.fill_null(pc.index_in(kept["label"], value_set=pa.array(labels, pa.string())), -1)
    places, classes = split.to_numpy().astype(np.int64), label.to_numpy().astype(np.int64)
    known = (places >= 0) & (classes >= 0)
    cells = (places * len(labels) + classes)[known]
    rows = np.bincount(cells, minlength=len(splits) * len(labels))
    return rows.reshape(len(splits), len(labels)).astype(np.int64)


def shares(kept: pa.Table, splits: Sequence[str], labels: Sequence[str], most: int) -> Mapping[str, list[float]]:
    """Of each of the `most` frequent labels: its share of each split."""
    rows = count(kept, splits, labels)
    frequent = sorted(range(len(labels)), key=lambda c: -rows[:, c].sum())[:most]
    parts = rows / np.maximum(rows.sum(axis=1, keepdims=True), 1)
    return {labels[c]: parts[:, c].tolist() for c in frequent}


def check(kept: pa.Table, labels: Sequence[str], limits: Any) -> list[Check]:
    """Enough rows of every class in train, validation and test, in like shares; `limits` is the `validate` section."""
    rows = count(kept, FITTED, labels)
    return [check_rows(rows, labels, limits.min_rows_per_class), *check_shares(rows, labels, limits.max_label_shift)]


def check_rows(rows: Ints, labels: Sequence[str], least: int) -> Check:
    """Demand rows of every class in train, validation and test; `rows` (3, classes)."""
    fewest = sorted(np.argwhere(rows < least).tolist(), key=lambda cell: rows[cell[0], cell[1]])
    few = [f"{FITTED[s]} has {rows[s, c]:,} of {labels[c][:60]!r}" for s, c in fewest]
    lacking = int((rows == 0).any(axis=0).sum())
    none = f"; {lacking:,} of {len(labels):,} labels lack rows in a split: {NO_ROWS}" if lacking else ""
    return Check(
        name="rows_per_class",
        sentence=f"train, validation and test have at least {least:,} rows of every label",
        rows="classes in splits",
        checked=rows.size,
        failing=len(few),
        passed=not few,
        detail=listed(few) + none if few else "",
        key="validate.min_rows_per_class",
        value=least,
        passing=int(rows.min()) or None,
    )


def check_shares(rows: Ints, labels: Sequence[str], most: float) -> list[Check]:
    """Limit how far a class's share of a split may be from its share of all three, beyond chance."""
    distance, error = label_shift(rows)
    off = (distance > most) & (distance > STANDARD_ERRORS * error)
    widest = round_up(float(distance[off].max(initial=0.0)))
    checks = [_check_shares_of(name, distance[s], off[s], labels, most) for s, name in enumerate(FITTED)]
    return [replace(check, key="validate.max_label_shift", value=most, passing=widest) for check in checks]


def _check_shares_of(split: str, distance: Any, off: Any, labels: Sequence[str], most: float) -> Check:
    shifted = [f"that of {labels[c][:60]!r} differs by {distance[c]:.1%}" for c in np.flatnonzero(off).tolist()]
    return Check(
        name="label_balance",
        sentence=f"each label's share differs by at most {most:.1%} from its share of all, chance aside",
        rows=split,
        checked=len(labels),
        failing=len(shifted),
        passed=not shifted,
        detail=listed(shifted),
    )


def label_shift(rows: Ints) -> tuple[Floats, Floats]:
    """Distance of each class's share in each split from its share in all, and its standard error.

    `rows` (splits, classes) counts; returns two arrays of that shape. The standard error is that of a binomial
    proportion p (1 - p) / n, n being the split's rows; a split without rows has no distance.
    """
    totals = np.maximum(rows.sum(axis=1, keepdims=True), 1)
    share = rows.sum(axis=0) / max(int(rows.sum()), 1)
    distance = np.where(rows.sum(axis=1, keepdims=True) > 0, np.abs(rows / totals - share), 0.0)
    return distance, np.sqrt(share * (1 - share) / totals)
