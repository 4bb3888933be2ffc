"""Why rows are set aside: by which param, and whether there are too many of them."""

from collections.abc import Mapping

from bonafide.params.sections import Validate
from bonafide.quality.checks import CAME, NAMED, TOLERANCE, Check, failing_of
from bonafide.quality.rows import Rows


def check_set_aside(rows: Rows, causes: Mapping[str, str], limits: Validate) -> Check:
    """Limit the share of rows that are set aside: above it the table has a fault, not its rows.

    `causes` is the key of params.yaml that a reason follows from.
    """
    all_rows, failing, most = len(rows.table), int(rows.set_aside.sum()), limits.max_quarantine_fraction
    why = f": {_say_reasons(rows.counts(), causes, limits)}" if failing else ""
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
