"""What validate found, as facts for other stages and as a page for people: counts, names and ids, never texts.

Pictures are on the page alone, drawn anew from pixels.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
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
PICTURES, PAIRS = 60, 12  # of rows that are set aside, and of near-duplicates

Facts = dict[str, Any]


def gather(
    rows: Rows, kept: pa.Table, found: Examined, checks: Sequence[Check], shown: Sequence[Figure], limits: Validate
) -> Facts:
    """All of findings.json. `shown` are the task's figures of the rows `kept`; `limits` is the `validate` section."""
    failing, reasons = int(rows.set_aside.sum()), {name: n for name, n in rows.counts().items() if n}
    sizes = split_sizes(kept, rows.order)
    return {
        "verdict": verdict(len(rows.table), failing, checks),
        "passed": all(check.passed for check in checks),
        "rows": len(rows.table),
        "quarantined": failing,
        "quarantine": {plain(name): n for name, n in reasons.items()},
        "causes": {plain(name): cause(name, found.causes, limits) for name in reasons},
        "splits": sizes,
        "facts": {**found.facts, **_near_facts(rows, sizes)},
        "checks": [check.facts() for check in sorted(checks, key=lambda check: check.passed)],  # the broken ones first
        "tables": list(found.tables),
        "figures": [figures.bars("Rows in each split", sizes), *shown],
    }


def _near_facts(rows: Rows, sizes: dict[str, int]) -> dict[str, str]:
    """How many near-duplicates stay, and where; `sizes` are the splits' rows."""
    if rows.near is None:
        return {}
    if not rows.near_stay:
        return {"Near-duplicates between test sets": f"{count(rows.near_between_tests())} (kept: none is trained on)"}
    stay = rows.near_by_split()
    told = [f"{name} {count(stay[name])} ({stay[name] / max(1, n):.2%})" for name, n in sizes.items() if name in stay]
    return {"Near-duplicates of rows of train": f"{', '.join(told) or 0} (kept, and marked)"}


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


def page(facts: Facts, rows: Rows, found: Examined) -> str:
    """The page, with the first of the rows that are set aside, what they are near-duplicates of, and pictures."""
    near = {} if rows.near is None else dict(zip(rows.near.rows.tolist(), rows.near.partners.tolist(), strict=True))
    first, listed = np.flatnonzero(rows.set_aside).tolist(), rows.quarantine().to_pylist()
    shown = [
        {**told, "partner": rows.table["id"][near[row]].as_py() if row in near else "", "note": _note(found, row)}
        for row, told in zip(first[:SHOWN], listed[:SHOWN], strict=True)
    ]
    pictures = [
        _pictured(found, [first[k]], [listed[k]["id"], listed[k]["split"], ", ".join(map(plain, listed[k]["reasons"]))])
        for k in (_some_of_each([row["reasons"][0] for row in listed]) if found.picture else ())
    ]
    drawn = [(figure["title"], draw(figure)) for figure in facts["figures"]]
    return render(
        "validate.html", facts=facts, charts=drawn, shown=shown, pictures=pictures, pairs=_pairs(rows, found, near)
    )


def _some_of_each(reasons: Sequence[str]) -> list[int]:
    """Places of rows to show: the first of each reason, the second of each, and so on, in their order."""
    met: Counter[str] = Counter()
    turn = []
    for reason in reasons:
        turn.append(met[reason])
        met[reason] += 1
    return sorted(np.argsort(turn, kind="stable")[:PICTURES].tolist())


def _note(found: Examined, row: int) -> str:
    return (found.notes[row].as_py() or "") if found.notes is not None else ""


def _pictured(found: Examined, rows: Sequence[int], words: Sequence[str]) -> dict[str, Any]:
    """A picture of each of the rows, empty where there is none, and what to write below them."""
    return {"images": [found.picture(row) if found.picture else "" for row in rows], "words": words}


def _pairs(rows: Rows, found: Examined, near: dict[int, int]) -> list[dict[str, Any]]:
    """Some near-duplicates, from all over the table, each beside what it is like."""
    spread = list(near)[:: max(1, len(near) // PAIRS)][:PAIRS] if found.picture else []
    ids, splits = rows.table["id"], rows.table["split"]
    return [
        _pictured(found, [row, near[row]], [f"{splits[r].as_py()}: {ids[r].as_py()}" for r in (row, near[row])])
        for row in spread
    ]
