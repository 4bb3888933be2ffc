"""The labels that params.yaml declares against those of the table: which have no row, which are not declared."""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from bonafide.project.arrays import Bools
from bonafide.quality.checks import CAME, NAMED, Check
from bonafide.quality.figures import Figure
from bonafide.quality.text_faults import to_mask

SHOWN = 20  # of the declared and of the other labels, on the page
SEARCHED = 1000  # others among which a spelling is looked for
DECLARED = 250  # characters of a label in params.yaml
LONGEST, WORDS = 30, 4  # of a label that nobody declared; what is more may be a row's text, and is not shown


@dataclass(frozen=True)
class Labels:
    """Rows of each label in the whole table."""

    declared: Mapping[str, int]
    """In the order of params.yaml."""
    others: Mapping[str, int]
    """The most frequent first."""

    @property
    def absent(self) -> list[str]:
        """Declared labels that no row has."""
        return [label for label, rows in self.declared.items() if not rows]


def count(column: pa.ChunkedArray, declared: Sequence[str]) -> Labels:
    """Count the labels of a column of strings."""
    found = {pair["values"]: pair["counts"] for pair in pc.value_counts(column).to_pylist()}
    rows = {label: found.pop(label, 0) for label in declared}
    found.pop(None, None)
    return Labels(rows, dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))))


def meaning(label: str) -> str:
    """What is left of a label without case, width, blanks, invisible characters and the form of a number."""
    visible = "".join(mark for mark in label if unicodedata.category(mark) != "Cf")
    text = " ".join(unicodedata.normalize("NFKC", visible).casefold().split())
    try:
        number = float(text)
    except ValueError:
        return text
    return repr(number) if math.isfinite(number) else text


def by_meaning(labels: Iterable[str]) -> dict[str, str]:
    """The first labels, by what they mean; none that is longer than params.yaml may declare."""
    found: dict[str, str] = {}
    for label in islice(labels, SEARCHED):
        if len(label) <= DECLARED:
            found.setdefault(meaning(label), label)
    return found


def nearest(label: str, others: Mapping[str, str]) -> str | None:
    """The one of `others`, by their meaning, that is likely meant by `label`, if one is."""
    sought = meaning(label[:DECLARED])
    close = [sought] if sought in others else get_close_matches(sought, list(others), n=1)
    return others[close[0]] if close else None


def shown(label: str) -> str:
    """A label for people in quotes, by its code points where it could be taken for another."""
    cut = f"{label[:60]}…" if len(label) > 60 else label
    return repr(cut) if unicodedata.normalize("NFKC", cut) == cut else ascii(cut)


def unnamed(label: str) -> str:
    """A label that nobody declared, or its length where it may be a person's text."""
    short = len(label) <= LONGEST and len(label.split()) <= WORDS and "@" not in label
    return shown(label) if short else f"({len(label):,} characters)"


def pair(label: str, other: str) -> tuple[str, str]:
    """Two labels as `shown`, both by their code points where they look the same."""
    alike = unicodedata.normalize("NFKC", label) == unicodedata.normalize("NFKC", other)
    return (ascii(label[:60]), ascii(other[:60])) if alike else (shown(label), shown(other))


def say_absent(found: Labels) -> str:
    """The declared labels that no row has, each with the spelling that is likely meant, then the table's others."""
    told, others = [], by_meaning(found.others)
    for label in found.absent[:NAMED]:
        near = nearest(label, others)
        ours, theirs = pair(label, near) if near else (shown(label), "")
        told.append(
            f"{ours} is in no row" + (f": did you mean {theirs} ({_rows(found.others[near])})?" if near else "")
        )
    more = len(found.absent) - NAMED
    told += [f"nor are {more:,} more"] if more > 0 else []
    return "; ".join([*told, say_others(found)] if found.others else told)


def say_others(found: Labels) -> str:
    """The labels of the table that are not declared, with their rows."""
    first = [f"{unnamed(label)} in {_rows(rows)}" for label, rows in list(found.others.items())[:NAMED]]
    rest = list(found.others.values())[NAMED:]
    more = f" and {len(rest):,} more in {_rows(sum(rest))}" if rest else ""
    return f"not declared: {', '.join(first)}{more}" if first else ""


def _rows(rows: int) -> str:
    return f"{rows:,} row" if rows == 1 else f"{rows:,} rows"


def faults(column: pa.ChunkedArray, declared: Sequence[str]) -> dict[str, Bools]:
    """Masks of missing labels and of those that are not declared."""
    known = to_mask(pc.is_in(column, value_set=pa.array(declared, column.type)))
    null = to_mask(pc.is_null(column))
    return {"null_label": null, "unknown_label": ~known & ~null}


def check(found: Labels) -> Check:
    """Demand that the table has every declared label, whatever its rows are like."""
    return Check(
        name="declared_labels",
        sentence="every declared label is in the table",
        rows=CAME,
        checked=len(found.declared),
        failing=len(found.absent),
        passed=not found.absent,
        detail=f"task.labels: {say_absent(found)}" if found.absent else "",
    )


def tables(found: Labels) -> list[Figure]:
    """Declared labels without rows and labels that are not declared, with what was likely meant; none if all match."""
    rows, others, declared = [], by_meaning(found.others), by_meaning(found.declared)
    for label in found.absent[:SHOWN]:
        near = nearest(label, others)
        ours, theirs = pair(label, near) if near else (shown(label), "")
        rows.append([ours, "task.labels, and no row", 0, theirs])
    for label in list(found.others)[:SHOWN]:
        near = nearest(label, declared)
        theirs, ours = pair(label, near) if near else (unnamed(label), "")
        rows.append([theirs, "the table, and not task.labels", found.others[label], ours])
    kinds = {"Label": "name", "In": "text", "Rows": "count", "Likely meant": "name"}
    table: Figure = {
        "kind": "table",
        "title": "Labels that params.yaml and the table do not share",
        "columns": [{"title": title, "kind": kind} for title, kind in kinds.items()],
        "rows": rows,
        "caption": f"At most {SHOWN} of each. What is longer than {LONGEST} characters or {WORDS} words may be a text, "
        "and only its length is given.",
    }
    return [table] if rows else []
