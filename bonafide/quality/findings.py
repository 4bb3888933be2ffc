"""What validate found, as facts for other stages and as a page for people: counts, names and ids, never texts."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bonafide.params.sections import Validate
from bonafide.project.numbers import count
from bonafide.quality import figures
from bonafide.quality.checks import Check
from bonafide.quality.figures import Figure
from bonafide.quality.quarantine import cause, plain
from bonafide.quality.rows import Examined, Rows
from bonafide.quality.splits import FITTED
from bonafide.reporting.figures import draw
from bonafide.reporting.html import render

SHOWN = 200  # quarantined rows on the page; the table beside it has all

Facts = dict[str, Any]


def gather(
    rows: Rows, kept: pa.Table, found: Examined, checks: Sequence[Check], shown: Sequence[Figure], limits: Validate
) -> Facts:
    """All of findings.json. `shown` are the task's figures of the rows `kept`; `limits` is the `validate` section."""
    failing, reasons = int(rows.set_aside.sum()), {name: n for name, n in rows.counts().items() if n}
    sizes = split_sizes(kept, rows.order)
    near = {"Near-duplicates between test sets": f"{count(rows.near_between_tests())} (kept: none is trained on)"}
    return {
        "verdict": verdict(len(rows.table), failing, checks),
        "passed": all(check.passed for check in checks),
        "rows": len(rows.table),
        "quarantined": failing,
        "quarantine": {plain(name): n for name, n in reasons.items()},
        "causes": {plain(name): cause(name, found.causes, limits) for name in reasons},
        "splits": sizes,
        "facts": {**found.facts, **({} if rows.near is None else near)},
        "checks": [check.facts() for check in sorted(checks, key=lambda check: check.passed)],  # the broken ones first
        "tables": list(found.tables),
        "figures": [figures.bars("Rows in each split", sizes), *shown],
    }


def split_sizes(kept: pa.Table, order: Sequence[str]) -> dict[str, int]:
    """Rows in each split, in the order people read them in: train, validation, test, then held-out ones by name."""
    found = dict.fromkeys(order, 0) | {c["values"]: c["counts"] for c in pc.value_counts(kept["split"]).to_pylist()}
    names = [name for name in FITTED if name in found] + sorted(set(found) - set(FITTED))
    return {name: found[name] for name in names}


def verdict(rows: int, quarantined: int, checks: Sequence[Check]) -> str:
    """The sentence that matters."""
    broken = sum(not check.passed for check in checks)
    if broken:
        return f"The data do not pass: {broken} of {len(checks)} expectations are broken."
    aside = f"{quarantined:,} {'is' if quarantined == 1 else 'are'} set aside"
    return f"The data pass: {rows - quarantined:,} of {rows:,} rows go on, {aside}."


def page(facts: Facts, rows: Rows) -> str:
    """The page, with the first of the rows that are set aside, and what they are near-duplicates of."""
    near = {} if rows.near is None else dict(zip(rows.near.rows.tolist(), rows.near.partners.tolist(), strict=True))
    first = [row for row, faulty in enumerate(rows.set_aside.tolist()) if faulty][:SHOWN]
    partners = [rows.table["id"][near[row]].as_py() if row in near else "" for row in first]
    listed = rows.quarantine().slice(0, SHOWN).to_pylist()
    shown = [{**row, "partner": partner} for row, partner in zip(listed, partners, strict=True)]
    drawn = [(figure["title"], draw(figure)) for figure in facts["figures"]]
    return render("validate.html", facts=facts, charts=drawn, shown=shown)
