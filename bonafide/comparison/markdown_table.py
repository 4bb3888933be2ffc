"""A comparison as GitHub's Markdown, for a phone: the verdict, then the gate, then narrow tables."""

from collections.abc import Iterable, Sequence
from typing import Any

from bonafide.comparison.wording import largest
from bonafide.project.numbers import count, score, signed
from bonafide.reporting.markdown import code, prose

Facts = dict[str, Any]


def render(facts: Facts) -> str:
    """The whole comparison; what is somebody else's in it is inert."""
    gate, lost = facts["gate"], [piece for piece in facts["slices"] if piece["outcome"] == "regressed"]
    others = [piece for piece in facts["slices"] if piece["outcome"] != "regressed"]
    parts = [
        f"**Verdict:** {prose(facts['verdict']['sentence'])}",
        "The gate passes." if gate["passed"] else "**The gate fails:**",
        bullets(gate["reasons"]),
        metrics(facts),
        slices(lost),
        bullets(facts["notes"]),
        folded(f"{count(len(others))} slices that did not regress", slices(others)) if others else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def metrics(facts: Facts) -> str:
    """The table of metrics, under the names of the two revisions."""
    level = f"difference ({100 * (1 - facts['verdict']['alpha']):g}% interval)"
    header = ("metric", str(code(facts["base"]["name"])), str(code(facts["head"]["name"])), level, "outcome")
    return table(header, ([str(prose(m["words"])), *value_cells(m), m["outcome"]] for m in facts["metrics"]), numbers=3)


def value_cells(facts: Facts) -> list[str]:
    """What the base has, what the head has, and the difference with its interval."""
    moved, low, high = (signed(facts[key], largest(facts)) for key in ("difference", "low", "high"))
    return [*(score(facts[key], largest(facts)) for key in ("base", "head")), f"{moved} ({low} to {high})"]


def slices(pieces: Sequence[Facts]) -> str:
    """The table of some slices."""
    rows = (
        [f"{code(piece['column'])} {code(piece['value'])}", count(piece["rows"]), *value_cells(piece), piece["outcome"]]
        for piece in pieces
    )
    return table(("slice", "rows", "base", "head", "difference", "outcome"), rows, numbers=4)


def folded(title: str, content: str) -> str:
    """What opens at a touch."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> str:
    """A table whose first column is words and the next `numbers` are numbers; nothing where there is no row."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    marks = ["---", *["---:"] * numbers, *["---"] * (len(header) - numbers - 1)]
    return "\n".join([f"| {' | '.join(header)} |", f"|{'|'.join(marks)}|", *lines]) if lines else ""


def bullets(words: Iterable[str]) -> str:
    """A list of sentences."""
    return "\n".join(f"- {prose(line)}" for line in words)
