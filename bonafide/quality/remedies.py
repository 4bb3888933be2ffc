"""What would let a table pass: of each param that decides, the value with which all that it decides holds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bonafide.params.sections import Validate
from bonafide.quality.expectations import Check

TOLERANCE = "validate.max_quarantine_fraction"
STEPS = 10_000  # in which a share is offered: four digits behind the point

CAUSES = {
    "unknown_label": "task.labels",
    "too_short": "validate.min_characters",
    "too_long": "validate.max_characters",
    "near_duplicate": "validate.near_duplicate_similarity",
    "personal_data": "validate.personal_data",
}
"""The param that a reason to set a row aside follows from, where it follows from one."""
REASONS = 5  # named in a message


def round_up(share: float) -> float:
    """A share in as few digits as people write, and not below it."""
    return min(math.ceil(round(share * STEPS, 6)) / STEPS, 1.0)


def least_tolerance(failing: Sequence[tuple[int, int]]) -> float:
    """The least `max_quarantine_fraction` under which so many failing of so many rows are let through, each pair.

    By the gate's arithmetic and by Great Expectations', which compares the share that holds with 1 - it.
    """
    tolerance = round_up(max((few / rows for few, rows in failing if rows), default=0.0))
    while tolerance < 1 and not all(
        few <= tolerance * rows and (rows - few) / rows >= 1 - tolerance for few, rows in failing if rows
    ):
        tolerance = round_up(tolerance + 1 / STEPS)
    return tolerance


def cause(reason: str, limits: Validate) -> str:
    """The param behind a reason with its value, if there is one."""
    key = CAUSES.get(reason, "")
    section, _, name = key.partition(".")
    return f"{key}: {getattr(limits, name)}" if section == "validate" else key


def say_reasons(counts: Mapping[str, int], limits: Validate) -> str:
    """The most frequent reasons with their rows and params; a row may have several."""
    found = sorted(((n, name) for name, n in counts.items() if n), key=lambda pair: (-pair[0], pair[1]))
    told = [
        f"{n:,} {name.replace('_', ' ')}{f' ({decided})' if (decided := cause(name, limits)) else ''}"
        for n, name in found[:REASONS]
    ]
    more = f" and {len(found) - REASONS} reasons more" if len(found) > REASONS else ""
    return ", ".join(told) + more


def settle(checks: Sequence[Check]) -> list[Check]:
    """Offer for `max_quarantine_fraction` what all that it decides needs; and nothing if a broken check has no offer.

    Then no value of params would let the table pass.
    """
    tolerance = least_tolerance([(check.failing, check.checked) for check in checks if check.key == TOLERANCE])
    offered = [replace(check, passing=tolerance) if check.key == TOLERANCE else check for check in checks]
    if all(check.passed or check.passing is not None for check in offered):
        return offered
    return [replace(check, passing=None) for check in offered]
