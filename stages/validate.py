"""Validate: the gate. Rows that cannot be learned from are set aside; a table that cannot be trusted stops here.

in   data/raw/table.parquet     from fetch
out  data/validated/            <split>.parquet and quarantine.parquet (id, split, reasons), if every expectation holds
     reports/validate/          index.html for people, findings.json for report, great_expectations.json; no texts, and
                                pictures of our own making on the page alone
     reports/validate.json      metrics
"""

import shutil
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bonafide.params.sections import Params, slice_columns
from bonafide.project.arrays import Metrics
from bonafide.project.console import say
from bonafide.project.errors import InputError
from bonafide.project.files import write_json, write_text
from bonafide.project.paths import FINDINGS, QUARANTINE, RAW_TABLE, REPORTS, VALIDATED
from bonafide.protocol import Schema, load
from bonafide.quality import figures, findings, splits
from bonafide.quality.checks import Check
from bonafide.quality.expectations import check_rows
from bonafide.quality.offers import offer_tolerance
from bonafide.quality.quarantine import check_set_aside
from bonafide.quality.rows import Examined, Rows, split_rows
from bonafide.quality.text_faults import undecodable
from bonafide.stage import run_stage

PAGE = REPORTS / "validate" / "index.html"
RESULTS = REPORTS / "validate" / "great_expectations.json"
TYPES = {  # large: beyond 2 GiB
    "text": pa.large_string(),
    "image": pa.large_binary(),
    "category": pa.string(),
    "number": pa.float64(),
}


def validate(params: Params) -> Metrics:
    """Check, split, set aside and pass on; return rows per split and per reason.

    Raises InputError with one line per broken expectation; the page, the findings and the quarantine are written all
    the same, the splits are not.
    """
    task, limits = load(params.task.name, Schema), params.validate
    slices = [*slice_columns(params.data.slices, params.task.columns).values()]
    raw = read_table(params.task.columns, slices)
    found: Examined = task.examine(raw, params)
    rows = split_rows(found, limits, params.seed)
    kept = rows.kept()
    came, passed_on = measured(raw, kept, found, rows, ["id", *params.task.columns])
    checks, results = check_rows(came, passed_on, found.expectations, limits.max_quarantine_fraction)
    checks = [*found.checks, *checks, check_set_aside(rows, found, limits), *task.checks(kept, params)]
    checks = offer_tolerance(checks)
    shown = [*task.show(kept, [*findings.split_sizes(kept, rows.order)], params)]
    shown += found.figures(~rows.set_aside) if found.figures else []
    shown += [figures.column(f"Rows by {name}", kept[name]) for name in slices]
    facts = findings.gather(rows, kept, found, checks, shown, limits)
    write_reports(facts, results, rows, found)
    stop_or_tell(checks)
    for name in rows.order:
        pq.write_table(kept.filter(pc.equal(kept["split"], name)).drop_columns("split"), VALIDATED / f"{name}.parquet")
    return count(facts, rows, found)


def read_table(kinds: dict[str, str], slices: Sequence[str]) -> pa.Table:
    """The raw table: id, the task's columns, group and split (null where it has none), and slices.

    Only texts may be broken UTF-8: InputError names the column.
    """
    table = pq.read_table(RAW_TABLE)
    columns = {}
    for name in ("id", *kinds, "group", "split", *slices):
        column = table[name] if name in table.column_names else pa.chunked_array([pa.nulls(len(table))])
        columns[name] = column if name in slices else column.cast(TYPES[kinds.get(name, "category")])
        if pa.types.is_string(columns[name].type) and undecodable(columns[name]).any():
            raise InputError(f"{RAW_TABLE}: column {name!r}: not UTF-8")
    splits.check_names(columns["split"])
    return pa.table(columns)


def measured(
    raw: pa.Table, kept: pa.Table, found: Examined, rows: Rows, ours: Sequence[str]
) -> tuple[pa.Table, pa.Table]:
    """What the expectations are about: of all rows as they came, and of those that are passed on."""
    if found.measured is None:
        return raw.select(ours), kept.select(ours)
    return found.measured, found.measured.filter(pa.array(~rows.set_aside))


def write_reports(facts: findings.Facts, results: list[dict[str, Any]], rows: Rows, found: Examined) -> None:
    """Write what people and other stages read, whatever the verdict; a failed gate leaves data/validated alone."""
    shutil.rmtree(VALIDATED, ignore_errors=True)
    folder = VALIDATED if facts["passed"] else PAGE.parent
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows.quarantine(), folder / QUARANTINE.name)
    write_json(FINDINGS, facts)
    write_json(RESULTS, results)
    write_text(PAGE, findings.page(facts, rows, found))


def stop_or_tell(checks: Sequence[Check]) -> None:
    """Raise InputError for the checks that are broken; tell of what the others let through."""
    broken = [check.broken() for check in checks if not check.passed]
    if broken:
        raise InputError("\n".join(f"{line}; see {PAGE}" for line in broken))
    for check in checks:
        if check.failing and check.detail:
            say(f"validate: {check.sentence}: {check.detail}; see {PAGE}")


def count(facts: findings.Facts, rows: Rows, found: Examined) -> Metrics:
    """Rows in all, per split, set aside and per reason, and what the task counts."""
    near = {f"{name}/near_duplicates": n for name, n in rows.near_by_split().items()}
    if rows.near is not None and not rows.near_stay:
        near = {"near_duplicates_between_tests": rows.near_between_tests()}
    counts = {
        "rows": facts["rows"],
        "quarantined": facts["quarantined"],
        **near,
        **{f"{name}/rows": n for name, n in facts["splits"].items()},
        **{f"quarantined/{name}": n for name, n in rows.counts().items()},
        **found.metrics,
    }
    return {f"validate/{name}": value for name, value in counts.items()}


if __name__ == "__main__":
    run_stage(validate)
