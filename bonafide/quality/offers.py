"""What would let a table pass: of each param that decides, the value with which all that it decides holds."""

import math
from collections.abc import Sequence
from dataclasses import replace

from bonafide.quality.checks import TOLERANCE, Check

STEPS = 10_000  # in which a share is offered: four digits behind the point


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


def offer_tolerance(checks: Sequence[Check]) -> list[Check]:
    """Offer for `max_quarantine_fraction` what all that it decides needs; and nothing if a broken check has no offer.

    Then no value of params would let the table pass.
    """
    tolerance = least_tolerance([(check.failing, check.checked) for check in checks if check.key == TOLERANCE])
    offered = [replace(check, passing=tolerance) if check.key == TOLERANCE else check for check in checks]
    if all(check.passed or check.passing is not None for check in offered):
        return offered
    return [replace(check, passing=None) for check in offered]
