"""What must hold of a table, whether it does, and which param decides: one form for Great Expectations' and ours."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

TOLERANCE = "validate.max_quarantine_fraction"
CAME = "rows as they came"
NAMED = 5  # ids, classes, columns or reasons in a message


@dataclass(frozen=True)
class Check:
    """One expectation and what became of it. One that only reports passes, and has a detail."""

    name: str
    """In GX's words with its column, or ours."""
    sentence: str
    """What must hold, for people."""
    rows: str
    """What it was checked on."""
    checked: int
    """Of them, those that could fail: a missing text has no length."""
    failing: int
    passed: bool
    limit: str = "none"
    """How much may fail, for people."""
    detail: str = ""
    """What exactly fails, for the message; ids and names, never texts."""
    key: str = ""
    """The param that decides, if one does."""
    value: float | str | None = None
    """What it is."""
    passing: float | None = None
    """What would let the table pass, together with the offers of all other checks."""

    def broken(self) -> str:
        """The line that says what is wrong."""
        found = self.detail or failing_of(self.failing, self.checked, self.limit)
        decides = f"; {self.decides()}" if self.key else ""
        return f"{self.name}, {self.rows}: expected that {self.sentence}; {found}{decides}"

    def decides(self) -> str:
        """Which param decides, and which value of it would let the table pass."""
        offer = f", {self.passing:g} would let these data pass" if self.passing is not None and not self.passed else ""
        return f"{self.key}: {self.value} decides{offer}" if self.key else ""

    def facts(self) -> dict[str, Any]:
        """As JSON holds it and the page shows it."""
        return {**asdict(self), "decides": self.decides()}


def failing_of(failing: int, checked: int, limit: str) -> str:
    """How many fail, of how many, and how many may."""
    return f"{failing:,} of {checked:,} fail ({limit} may)"


def listed(things: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(things) - NAMED:,} more" if len(things) > NAMED else ""
    return ", ".join(things[:NAMED]) + more


def check_set_aside(counts: Mapping[str, int], failing: int, rows: int, limits: Any, causes: Mapping[str, str]) -> Check:
    """Limit the share of rows that are set aside: above it the table has a fault, not its rows.

    `counts` are rows by reason, `failing` those with any; `limits` is the `validate` section.
    """
    most = limits.max_quarantine_fraction
    why = f": {_say_reasons(counts, limits, causes)}" if failing else ""
    return Check(
        name="quarantined",
        sentence=f"at most {most:.2%} of the rows are set aside",
        rows=CAME,
        checked=rows,
        failing=failing,
        passed=failing <= most * rows,
        limit=f"{most:.2%}",
        detail=failing_of(failing, rows, f"{most:.2%}") + why,
        key=TOLERANCE,
        value=most,
    )


def cause(reason: str, limits: Any, causes: Mapping[str, str]) -> str:
    """The param that a reason follows from, with its value if it is a limit; empty where it follows from none."""
    key = causes.get(reason, "")
    section, _, name = key.partition(".")
    return f"{key}: {getattr(limits, name)}" if section == "validate" else key


def _say_reasons(counts: Mapping[str, int], limits: Any, causes: Mapping[str, str]) -> str:
    """The most frequent reasons with their rows and params; a row may have several."""
    found = sorted(((n, name) for name, n in counts.items() if n), key=lambda pair: (-pair[0], pair[1]))
    told = [
        f"{n:,} {name.replace('_', ' ')}{f' ({decided})' if (decided := cause(name, limits, causes)) else ''}"
        for n, name in found[:NAMED]
    ]
    more = f" and {len(found) - NAMED} reasons more" if len(found) > NAMED else ""
    return ", ".join(told) + more
