"""What must hold of a table, whether it does, and which param decides: one form for Great Expectations' and ours."""

from collections.abc import Sequence
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
