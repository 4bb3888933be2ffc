"""Validate: the gate. Rows that cannot be learned from are set aside; a table that cannot be trusted stops here.

in   data/raw/table.parquet     from fetch
out  data/validated/            <split>.parquet and quarantine.parquet (id, split, reasons), if every expectation holds
     reports/validate/          index.html for people, findings.json for report, great_expectations.json; no texts
     reports/validate.json      metrics
"""

import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bonafide.params.sections import Params, Validate, slice_columns
from bonafide.project.arrays import Ints, Metrics
from bonafide.project.console import say
from bonafide.project.errors import InputError
from bonafide.project.files import write_json, write_text
from bonafide.project.paths import FINDINGS, QUARANTINE, RAW_TABLE, REPORTS, VALIDATED
from bonafide.protocol import Schema, load
from bonafide.quality import checks as gate
from bonafide.quality import duplicates, findings, labels, pii, splits, text_faults
from bonafide.quality.expectations import Check
from bonafide.quality.labels import Labels
from bonafide.quality.remedies import cause, settle
from bonafide.quality.splits import TEST, VALIDATION
from bonafide.reporting.html import render
from bonafide.stage import run_stage

PAGE = REPORTS / "validate" / "index.html"
RESULTS = REPORTS / "validate" / "great_expectations.json"
NAMES = ("id", "label", "group", "split")


@dataclass(frozen=True)
class Rows:
    """The table with what was found out about each row."""

    table: pa.Table
    """As it came, but for texts: readable, and masked if params say so."""
    split: pa.Array
    """(n,) names."""
    order: list[str]
    """Split names by rank."""
    rank: Ints
    """(n,) places of `split` in `order`."""
    quarantine: findings.Quarantine
    personal: pii.Scan
    near: duplicates.Near
    """Near-duplicates in a split of lower rank, those between two test sets included."""

    def kept(self) -> pa.Table:
        """The rows that are passed on, as they are written, with `split`."""
        table = self.table.append_column("split", self.split).filter(pa.array(~self.quarantine.rows))
        return table.set_column(
            table.schema.get_field_index("group"), "group", pc.coalesce(table["group"], table["id"])
        )


def validate(params: Params) -> Metrics:
    """Check, split, set aside and pass on; return rows per split and per reason.

    Raises InputError with one line per broken expectation; the page, the findings and the quarantine are written all
    the same, the splits are not.
    """
    declared = params.task.labels
    raw = read_table([*slice_columns(params.data.slices, ("text", "label")).values()])
    rows = examine(raw, declared, params.validate, params.seed)
    found = labels.count(raw["label"], declared)
    kept = rows.kept()
    counts = findings.count(kept, rows.order, declared)
    suite = load(params.task.name, Schema).expectations(params.validate, declared)
    checks, results = gate.judge_rows(raw, kept, suite, params.validate.max_quarantine_fraction)
    checks += gate.judge_quarantine(rows.quarantine, rows.personal, raw["id"], params.validate)
    more, more_results = gate.judge_splits(gate.fitted(counts, rows.order), declared, params.validate)
    checks = settle([gate.name_labels(check, found) for check in [gate.check_labels(found), *checks, *more]])
    facts = describe(rows, kept, counts, found, params.validate, checks)
    write_reports(facts, [*results, *more_results], rows)
    broken = [check.broken() for check in checks if not check.passed]
    if broken:
        raise InputError("\n".join(f"{line}; see {PAGE}" for line in broken))
    if found.others:
        say(f"validate: set aside: task.labels: {labels.say_others(found)}; see {PAGE}")
    for name in rows.order:
        pq.write_table(kept.filter(pc.equal(kept["split"], name)).drop_columns("split"), VALIDATED / f"{name}.parquet")
    return measure(facts, rows)


def read_table(slices: list[str]) -> pa.Table:
    """Read the raw table with every column it may lack; only texts may be broken UTF-8."""
    table = pq.read_table(RAW_TABLE)
    columns = {name: table[name] if name in table.column_names else pa.nulls(len(table)) for name in (*NAMES, *slices)}
    columns = {name: _chunked(column, pa.string() if name in NAMES else None) for name, column in columns.items()}
    for name, column in columns.items():
        if pa.types.is_string(column.type) and text_faults.undecodable(column).any():
            raise InputError(f"{RAW_TABLE}: column {name!r}: not UTF-8")
    splits.check_names(columns["split"])
    text = _chunked(table["text"], pa.large_string())  # beyond 2 GiB, and what pandas takes without a copy
    return pa.table({"id": columns.pop("id"), "text": text, **columns})


def _chunked(column: Any, kind: pa.DataType | None) -> pa.ChunkedArray:
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    return chunked.cast(kind) if kind else chunked


def examine(raw: pa.Table, declared: list[str], limits: Validate, seed: int) -> Rows:
    """Find every fault of every row, and its split."""
    broken = text_faults.undecodable(raw["text"])
    texts = text_faults.without(raw["text"], broken)
    # a text that is too long anyway is not searched: one of 100 MB would take minutes
    scan = pii.scan(texts, limits.max_characters)
    texts = scan.masked if limits.personal_data == "mask" else texts
    faults = {
        "invalid_utf8": broken,
        **text_faults.text_faults(texts, limits.min_characters, limits.max_characters),
        **text_faults.label_faults(raw["label"], declared),
    }
    faults["null_text"] &= ~broken
    normal = duplicates.normalise(texts)
    split = assign_splits(raw, normal, limits, seed)
    order, rank = splits.ranks(split)
    faults |= compare(raw, normal, faults, rank, splits.priorities(order, rank))
    faults["near_duplicate"], near = find_near(normal, faults, rank, splits.priorities(order, rank), limits)
    if limits.personal_data == "fail":
        faults["personal_data"] = np.logical_or.reduce(list(scan.rows.values()))
    table = raw.drop_columns("split").set_column(1, "text", texts)
    return Rows(table, split, order, rank, findings.Quarantine(faults), scan, near)


def assign_splits(raw: pa.Table, normal: pa.ChunkedArray, limits: Validate, seed: int) -> pa.Array:
    """Give every row a split; where the table has no group, equal texts are one."""
    fractions = {VALIDATION: limits.validation_fraction, TEST: limits.test_fraction}
    splits.check_group_sizes(raw["split"], raw["group"], fractions)
    return splits.assign(raw["split"], pc.coalesce(raw["group"], normal, raw["id"]), fractions, seed)


def compare(
    raw: pa.Table, normal: pa.ChunkedArray, faults: findings.Faults, rank: Ints, priority: Ints
) -> findings.Faults:
    """Faults that rows have because of others: equal texts and groups. Faulty rows never push out sound ones."""
    sound = ~findings.Quarantine(faults).rows
    known = text_faults.without(raw["label"], faults["unknown_label"])
    repeated, conflicting = duplicates.find_exact(normal, known, np.where(sound, rank, rank + len(rank)))
    leaked = splits.leaked(raw["group"], priority, sound)
    return {"duplicate": repeated, "conflicting_label": conflicting, "leaked_group": leaked}


def find_near(
    normal: pa.ChunkedArray, faults: findings.Faults, rank: Ints, priority: Ints, limits: Validate
) -> tuple[text_faults.Mask, duplicates.Near]:
    """Near-duplicates among the rows without faults; those in train and validation are faulty."""
    sound = np.flatnonzero(~findings.Quarantine(faults).rows)
    texts = normal.take(pa.array(sound)).to_pylist()
    found = duplicates.find_near(texts, rank[sound], limits.near_duplicate_similarity)
    near = duplicates.Near(sound[found.rows], sound[found.partners])
    faulty = np.zeros(len(rank), dtype=np.bool_)
    faulty[near.rows[priority[near.rows] > 0]] = True
    return faulty, near


def describe(
    rows: Rows, kept: pa.Table, counts: Ints, found: Labels, limits: Validate, checks: list[Check]
) -> findings.Facts:
    """Everything that is shown: here, by report, in the metrics."""
    reasons, quarantined = rows.quarantine.counts(), int(rows.quarantine.rows.sum())
    by_split = findings.by_split(counts, rows.order, list(found.declared))
    return {
        "verdict": findings.verdict(len(rows.rank), quarantined, checks),
        "passed": all(check.passed for check in checks),
        "rows": len(rows.rank),
        "quarantined": quarantined,
        "quarantine": {findings.plain(name): n for name, n in reasons.items() if n},
        "causes": {findings.plain(name): cause(name, limits) for name, n in reasons.items() if n},
        "labels": labels.describe(found),
        "splits": by_split,
        "shares": findings.shares(by_split),
        "lengths": findings.histogram(pc.utf8_length(kept["text"]).to_numpy()),
        "slices": {
            name: findings.slice_facts(kept[name]) for name in kept.column_names if name not in ("text", *NAMES)
        },
        "personal_data": rows.personal.values,
        "near_duplicates_between_tests": int((~rows.quarantine.faults["near_duplicate"])[rows.near.rows].sum()),
        "checks": findings.as_checks(checks),
    }


def write_reports(facts: findings.Facts, results: list[dict[str, Any]], rows: Rows) -> None:
    """Write what people and other stages read, whatever the verdict; a failed gate leaves data/validated alone."""
    shutil.rmtree(VALIDATED, ignore_errors=True)
    folder = VALIDATED if facts["passed"] else PAGE.parent
    folder.mkdir(parents=True, exist_ok=True)
    set_aside = rows.quarantine.table(rows.table["id"], rows.split)
    pq.write_table(set_aside, folder / QUARANTINE.name)
    write_json(FINDINGS, facts)
    write_json(RESULTS, results)
    partners = dict(zip(rows.near.rows.tolist(), rows.near.partners.tolist(), strict=True))
    first = np.flatnonzero(rows.quarantine.rows)[: findings.SHOWN].tolist()
    beside = [rows.table["id"][partners[row]].as_py() if row in partners else "" for row in first]
    shown = [
        {**row, "beside": other}
        for row, other in zip(set_aside.slice(0, findings.SHOWN).to_pylist(), beside, strict=True)
    ]
    write_text(PAGE, render("validate.html", facts=facts, charts=findings.draw(facts), shown=shown))


def measure(facts: findings.Facts, rows: Rows) -> Metrics:
    """Rows in all, per split, set aside and per reason; occurrences of personal data per kind."""
    return {
        "validate/rows": facts["rows"],
        "validate/quarantined": facts["quarantined"],
        "validate/near_duplicates_between_tests": facts["near_duplicates_between_tests"],
        **{f"validate/{name}/rows": sum(found.values()) for name, found in facts["splits"].items()},
        **{f"validate/quarantined/{name}": n for name, n in rows.quarantine.counts().items()},
        **{f"validate/personal_data/{kind}": n for kind, n in rows.personal.values.items()},
    }


if __name__ == "__main__":
    run_stage(validate)
