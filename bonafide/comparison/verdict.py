"""Whether one revision's model is better than another's, from their predictions on the same rows, and how sure that is.

`compare` gives everything that a person or a gate may ask; `bonafide compare` and the pull request show it.
"""

from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from bonafide.comparison.matched_rows import Pair, pair
from bonafide.comparison.power import detectable, power
from bonafide.comparison.seed_spread import spread
from bonafide.comparison.wording import notes, reasons, sentence
from bonafide.evaluation.metrics import from_sums, row_sums
from bonafide.evaluation.paired_tests import Difference, differences
from bonafide.evaluation.slices import Slice
from bonafide.evaluation.statistics import by_group, mcnemar
from bonafide.params.sections import Compare
from bonafide.project.arrays import Floats, Ints
from bonafide.project.errors import InputError
from bonafide.project.randomness import generator
from bonafide.provenance.revisions import Revision

Facts = dict[str, Any]

LOWER = ("log_loss", "brier")  # the metrics of which less is better
IMPROVED, EQUIVALENT, REGRESSED, UNDECIDED = "improved", "equivalent", "regressed", "not enough evidence"


def compare(base: Revision, head: Revision, policy: Compare) -> Facts:
    """Judge the head's model against the base's on the rows that both have; raise InputError where that cannot be.

    `policy` is the `compare` section of today's params.yaml: an older revision may have none. The spread over seeds
    stands beside the verdict and is no part of it: the verdict is on two models, not on their recipes.
    """
    found = pair(base, head, policy.split)
    metric = f"{policy.split}/{found.primary}"
    (base_seeds, base_sd), (head_seeds, head_sd) = spread(base, metric), spread(head, metric)
    facts = {
        "base": {"name": base.name, "commit": base.commit},
        "head": {"name": head.name, "commit": head.commit},
        "seeds": {"base": base_seeds, "head": head_seeds, "base_sd": base_sd, "head_sd": head_sd},
        "unsliced": found.unsliced,
        **judge(found, policy),
    }
    failed = reasons(facts, policy)
    return facts | {"notes": notes(facts), "gate": {"passed": not failed, "reasons": failed}}


def judge(found: Pair, policy: Compare) -> Facts:
    """What follows from the predictions alone."""
    sums = row_sums(found.labels, found.base), row_sums(found.labels, found.head)
    tested = contrast(sums, found, None, policy)
    if found.primary not in tested:
        raise InputError(f"{found.primary}: not a metric that can be compared; {', '.join(tested)} can")
    names = [found.primary, *(name for name in tested if name != found.primary)]
    groups = len(set(found.groups))
    metrics = [{"name": name, **describe(name, tested[name], groups, policy)} for name in names]
    pieces, untested = judge_slices(sums, found, policy)
    return {
        "split": policy.split,
        "rows": found.counts,
        "groups": groups,
        "primary": found.primary,
        "metrics": metrics,
        "mcnemar": discordant(found),
        "slices": pieces,
        "slices_untested": untested,
        "verdict": {
            "outcome": metrics[0]["outcome"],
            "sentence": sentence(metrics[0], policy),
            "margin": policy.margin,
            "alpha": policy.alpha,
            "detectable": detectable(metrics[0]["error"], policy.alpha, policy.margin),
            "power": power(policy.margin, metrics[0]["error"], policy.alpha, policy.margin),
        },
    }


def discordant(found: Pair) -> Facts:
    """The exact test of McNemar (1947) on rows: those only one system gets right, and p, as if rows were independent.

    Both numbers are plain to see, so it is shown; it knows nothing of groups, so it decides nothing.
    """
    base, head = ((one.argmax(axis=1) == found.labels).astype(np.int64) for one in (found.base, found.head))
    exact = mcnemar(head, base)
    return {"head_only": exact["model_only"], "base_only": exact["baseline_only"], "p_value": exact["p_value"]}


def contrast(sums: tuple[Floats, Floats], found: Pair, piece: Slice | None, policy: Compare) -> dict[str, Difference]:
    """Every metric's difference on all rows, or on a slice's."""
    rows: Ints = np.arange(len(found.groups)) if piece is None else piece.rows
    groups = [found.groups[row] for row in rows]
    base, head = (by_group(one[rows], groups) for one in sums)
    classes = found.base.shape[1]
    names = ("compare", policy.split) if piece is None else ("compare", policy.split, piece.column, piece.value)
    return differences(base, head, lambda totals: from_sums(totals, classes), policy.samples, generator(0, *names))


def describe(
    name: str, difference: Difference, groups: int, policy: Compare, adjusted: float | None = None
) -> dict[str, Any]:
    """A difference with its interval, error and outcome; `tost` is the interval that decides on equivalence."""
    low, high = difference.interval(1 - policy.alpha)
    return {
        "base": difference.base,
        "head": difference.head,
        "difference": difference.value,
        "low": low,
        "high": high,
        "tost": list(difference.interval(1 - 2 * policy.alpha)),
        "error": difference.error,
        "p_value": difference.p_value,
        "outcome": outcome(name, difference, groups, policy, adjusted),
    }


def outcome(name: str, difference: Difference, groups: int, policy: Compare, adjusted: float | None = None) -> str:
    """What may be said of a difference.

    Equivalent: two one-sided tests (Schuirmann 1987), as the 1 - 2 alpha interval lies within the margin; it comes
    first, since what is shown to be smaller than what matters does not matter, however sure its sign is. Improved and
    regressed: the permutation test rejects, and the 1 - alpha interval leaves out 0: the test is exact where the
    systems can be exchanged, the interval holds where they err in different ways. Groups too few for any permutation
    to reject decide nothing, unless the systems are the same.
    """
    low, high = difference.interval(1 - policy.alpha)
    inner = difference.interval(1 - 2 * policy.alpha)
    enough = can_reject(groups, policy.alpha) or difference.error == 0
    rejected = (difference.p_value if adjusted is None else adjusted) <= policy.alpha
    if enough and -policy.margin < inner[0] and inner[1] < policy.margin:
        return EQUIVALENT
    if rejected and (low > 0 or high < 0):
        return IMPROVED if (low > 0) != (name in LOWER) else REGRESSED
    return UNDECIDED


def can_reject(groups: int, alpha: float) -> bool:
    """Whether the rarest of the 2^groups swaps, and its mirror, are rarer than alpha."""
    return groups >= 64 or 2 / 2**groups <= alpha


def judge_slices(sums: tuple[Floats, Floats], found: Pair, policy: Compare) -> tuple[list[Facts], int]:
    """The primary metric on every slice that is large enough, and how many are not.

    The p-values are adjusted for their number (Benjamini and Hochberg 1995): of the slices that are called improved
    or regressed, no more than alpha are expected to be called so wrongly.
    """
    groups = [len({found.groups[row] for row in piece.rows}) for piece in found.slices]
    large = [
        (piece, count)
        for piece, count in zip(found.slices, groups, strict=True)
        if len(piece.rows) >= policy.min_slice_rows and can_reject(count, policy.alpha)
    ]
    tested = [contrast(sums, found, piece, policy)[found.primary] for piece, _ in large]
    adjusted = false_discovery_control([difference.p_value for difference in tested]).tolist() if tested else []
    pieces = [
        {
            "column": piece.column,
            "value": piece.value,
            "rows": len(piece.rows),
            "adjusted": p_value,
            **describe(found.primary, difference, count, policy, p_value),
        }
        for (piece, count), difference, p_value in zip(large, tested, adjusted, strict=True)
    ]
    return pieces, len(found.slices) - len(large)
