"""Why rows are set aside: by which param, and whether there are too many of them."""

from collections.abc import Mapping

import numpy as np

from bonafide.params.sections import Validate
from bonafide.quality.checks import CAME, NAMED, TOLERANCE, Check, failing_of
from bonafide.quality.rows import Examined, Rows


def check_set_aside(rows: Rows, found: Examined, limits: Validate) -> Check:
    """Limit the share of rows that are set aside: above it the table has a fault, not its rows."""
    all_rows, failing, most = len(rows.table), int(rows.set_aside.sum()), limits.max_quarantine_fraction
    why = f": {_say_reasons(rows.counts(), found.causes, limits)}{_say_notes(rows, found)}" if failing else ""
    return Check(
        name="quarantined",
        sentence=f"at most {most:.2%} of the rows are set aside",
        rows=CAME,
        checked=all_rows,
        failing=failing,
        passed=failing <= most * all_rows,
        limit=f"{most:.2%}",
        detail=failing_of(failing, all_rows, f"{most:.2%}") + why,
        key=TOLERANCE,
        value=most,
    )


def cause(reason: str, causes: Mapping[str, str], limits: Validate) -> str:
    """The param that a reason follows from, with its value if it is one limit; empty where it follows from none."""
    key = causes.get(reason, "")
    section, _, name = key.partition(".")
    value = getattr(limits, name) if section == "validate" else {}
    return key if isinstance(value, Mapping) else f"{key}: {value}"


def plain(reason: str) -> str:
    """A reason as people say it."""
    return reason.replace("_", " ")


def _say_reasons(counts: Mapping[str, int], causes: Mapping[str, str], limits: Validate) -> str:
    """The most frequent reasons with their rows and params; a row may have several."""
    found = sorted(((n, reason) for reason, n in counts.items() if n), key=lambda pair: (-pair[0], pair[1]))
    told = [
        f"{n:,} {plain(reason)}{f' ({decided})' if (decided := cause(reason, causes, limits)) else ''}"
        for n, reason in found[:NAMED]
    ]
    more = f" and {len(found) - NAMED} reasons more" if len(found) > NAMED else ""
    return ", ".join(told) + more


def _say_notes(rows: Rows, found: Examined) -> str:
    """The first rows that there is more to say of, each with its id."""
    if found.notes is None:
        return ""
    noted = np.flatnonzero(rows.set_aside & found.notes.is_valid().to_numpy())
    told = [f"{rows.table['id'][row].as_py()!r}: {found.notes[row].as_py()}" for row in noted[:NAMED].tolist()]
    more = f" and {len(noted) - NAMED:,} rows more" if len(noted) > NAMED else ""
    return f"; {'; '.join(told)}{more}" if told else ""
