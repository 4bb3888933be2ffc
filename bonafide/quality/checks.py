"""The checks beside the task's own that decide whether a table goes on: quarantine, personal data, classes, balance."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bonafide.params.sections import Validate
from bonafide.project.arrays import Ints
from bonafide.quality.expectations import Check, run_suite, strict
from bonafide.quality.findings import Quarantine
from bonafide.quality.labels import Labels, say_absent, say_others
from bonafide.quality.pii import Scan
from bonafide.quality.remedies import TOLERANCE, round_up, say_reasons
from bonafide.quality.splits import FITTED, label_shift
from bonafide.quality.text_faults import undecodable, without

Judged = tuple[list[Check], list[dict[str, Any]]]
"""Checks, and GX's results as numbers."""

CAME = "rows as they came"

UNIQUE_IDS = {
    "type": "expect_column_values_to_be_unique",
    "kwargs": {"column": "id"},
    "description": "no two rows have the same id",
}
STANDARD_ERRORS = 3  # within them a difference is chance, but for one in 370 (normal distribution)
NAMED = 5  # ids or classes in a message
UNDECLARED = "expect_column_values_to_be_in_set(label)"
LET_THROUGH = "mask hides it in what is passed on, report only counts it"
NO_ROWS = "bring more, or leave such a label out of task.labels"


def judge_rows(came: pa.Table, kept: pa.Table, suite: Sequence[dict[str, Any]], most: float) -> Judged:
    """The task's expectations and unique ids: with their tolerance on all rows, without on those that are passed on.

    `most` is `max_quarantine_fraction`, their tolerance.
    """
    suite = [UNIQUE_IDS, *suite]
    checks, results = run_suite(_frame(came), suite, CAME)
    checks = [
        replace(check, key=TOLERANCE, value=most) if "mostly" in expectation["kwargs"] else check
        for check, expectation in zip(checks, suite, strict=True)
    ]
    more, more_results = run_suite(_frame(kept), strict(suite), "rows passed on")
    return checks + more, results + more_results


def check_labels(found: Labels) -> Check:
    """Demand that the table has every declared label, whatever its rows are like."""
    return Check(
        name="declared_labels",
        sentence="every declared label is in the table",
        rows=CAME,
        checked=len(found.declared),
        failing=len(found.absent),
        limit="none",
        passed=not found.absent,
        detail=f"task.labels: {say_absent(found)}" if found.absent else "",
    )


def name_labels(check: Check, found: Labels) -> Check:
    """The labels that are not declared, in the check that fails for them."""
    if check.name != UNDECLARED or check.rows != CAME or not check.failing:
        return check
    return replace(
        check, detail=f"{check.failing:,} of {check.checked:,} are not ({check.limit} may): {say_others(found)}"
    )


def _frame(table: pa.Table) -> pd.DataFrame:
    """Columns as pandas strings, null where they are not UTF-8."""
    text = without(table["text"], undecodable(table["text"]))
    return pa.table({"id": table["id"], "text": text, "label": table["label"]}).to_pandas()


def judge_quarantine(quarantine: Quarantine, scan: Scan, ids: pa.ChunkedArray, limits: Validate) -> list[Check]:
    """Limits on rows that are set aside and, if params say so, on personal data."""
    rows = quarantine.rows
    checks = [check_quarantine(quarantine, limits)]
    if limits.personal_data == "fail":
        found = np.flatnonzero(np.logical_or.reduce(list(scan.rows.values())))
        checks.append(check_personal(ids.take(pa.array(found)).to_pylist(), len(rows)))
    return checks


def judge_splits(rows: Ints, labels: Sequence[str], limits: Validate) -> Judged:
    """Enough rows of every class in train, validation and test, in like shares; `rows` (3, classes)."""
    check, results = check_classes(rows, labels, limits.min_rows_per_class)
    return [check, *check_balance(rows, labels, limits.max_label_shift)], results


def fitted(rows: Ints, order: Sequence[str]) -> Ints:
    """Counts (3, classes) of train, validation and test out of those of all splits; absent splits have none."""
    absent = np.zeros(rows.shape[1], dtype=np.int64)
    return np.stack([rows[order.index(name)] if name in order else absent for name in FITTED])


def check_quarantine(quarantine: Quarantine, limits: Validate) -> Check:
    """Limit the share of rows that are set aside: above it the table has a fault, not its rows."""
    rows, few, most = len(quarantine.rows), int(quarantine.rows.sum()), limits.max_quarantine_fraction
    why = f": {say_reasons(quarantine.counts(), limits)}" if few else ""
    return Check(
        name="quarantined",
        sentence=f"at most {most:.2%} of the rows are set aside",
        rows=CAME,
        checked=rows,
        failing=few,
        limit=f"{most:.2%}",
        passed=few <= most * rows,
        detail=f"{few:,} of {rows:,} fail ({most:.2%} may){why}",
        key=TOLERANCE,
        value=most,
    )


def check_personal(ids: Sequence[str], rows: int) -> Check:
    """Forbid personal data, for the policy `fail`; `ids` of the rows that have some."""
    return Check(
        name="personal_data",
        sentence="no text holds personal data",
        rows=CAME,
        checked=rows,
        failing=len(ids),
        limit="none",
        passed=not ids,
        detail=f"{len(ids):,} of {rows:,} rows do: {_name([repr(i[:60]) for i in ids])}; {LET_THROUGH}" if ids else "",
        key="validate.personal_data",
        value="fail",
    )


def check_classes(rows: Ints, labels: Sequence[str], least: int) -> tuple[Check, list[dict[str, Any]]]:
    """Demand rows of every class in train, validation and test; `rows` (3, classes) are what is passed on."""
    frame = pd.DataFrame({"rows": rows.ravel()})
    expectation = {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "rows", "min_value": least},
        "description": f"train, validation and test have at least {least:,} rows of every label",
    }
    [check], results = run_suite(frame, [expectation], "classes in splits")
    check = replace(check, key="validate.min_rows_per_class", value=least, passing=int(rows.min()) or None)
    fewest = sorted(np.argwhere(rows < least).tolist(), key=lambda cell: rows[cell[0], cell[1]])
    few = [f"{FITTED[s]} has {rows[s, c]:,} of {labels[c][:60]!r}" for s, c in fewest]
    lacking = int((rows == 0).any(axis=0).sum())
    none = f"; {lacking:,} of {len(labels):,} labels lack rows in a split: {NO_ROWS}" if lacking else ""
    return check if check.passed else replace(check, detail=_name(few) + none), results


def check_balance(rows: Ints, labels: Sequence[str], most: float) -> list[Check]:
    """Limit how far a class's share of a split may be from its share of all three, beyond chance."""
    distance, error = label_shift(rows)
    off = (distance > most) & (distance > STANDARD_ERRORS * error)
    widest = round_up(float(distance[off].max(initial=0.0)))
    checks = [_balance_check(name, distance[s], off[s], labels, most) for s, name in enumerate(FITTED)]
    return [replace(check, key="validate.max_label_shift", value=most, passing=widest) for check in checks]


def _balance_check(name: str, distance: Any, off: Any, labels: Sequence[str], most: float) -> Check:
    shifted = [f"that of {labels[c][:60]!r} differs by {distance[c]:.1%}" for c in np.flatnonzero(off).tolist()]
    return Check(
        name="label_balance",
        sentence=f"each label's share differs by at most {most:.1%} from its share of all, chance aside",
        rows=name,
        checked=len(labels),
        failing=len(shifted),
        limit="none",
        passed=not shifted,
        detail=_name(shifted),
    )


def _name(things: Sequence[str]) -> str:
    more = f" and {len(things) - NAMED:,} more" if len(things) > NAMED else ""
    return ", ".join(things[:NAMED]) + more
