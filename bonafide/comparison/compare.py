"""Whether one revision's model is better than another's, from their predictions on the same rows, and how sure that is.

`compare` gives everything that a person or a gate may ask; `bonafide compare` and the pull request show it. What may be
said of a difference is decided by bonafide.evaluation.verdict.
"""

from functools import partial
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from bonafide.comparison.matched_rows import Pair, pair
from bonafide.comparison.power import detectable, power
from bonafide.comparison.seed_spread import spread
from bonafide.comparison.wording import notes, reasons, sentence
from bonafide.evaluation.estimates import Measure
from bonafide.evaluation.paired_tests import Difference, differences
from bonafide.evaluation.slices import Slice
from bonafide.evaluation.statistics import by_group, mcnemar
from bonafide.evaluation.verdict import Rule, can_reject, outcome
from bonafide.params.sections import Compare
from bonafide.project.arrays import Floats, Ints
from bonafide.project.errors import InputError
from bonafide.project.randomness import generator
from bonafide.protocol import Metric, Score, load
from bonafide.provenance.revisions import Revision

Facts = dict[str, Any]


def compare(base: Revision, head: Revision, policy: Compare) -> Facts:
    """Judge the head's model against the base's on the rows that both have; raise InputError where that cannot be.

    `policy` is the `compare` section of today's params.yaml: an older revision may have none. The spread over seeds
    stands beside the verdict and is no part of it: the verdict is on two models, not on their recipes.
    """
    found = pair(base, head, policy.split)
    facts = compare_pair(found, policy)
    metric = f"{policy.split}/{facts['primary']}"
    (base_seeds, base_sd), (head_seeds, head_sd) = spread(base, metric), spread(head, metric)
    facts |= {
        "base": {"name": base.name, "commit": base.commit},
        "head": {"name": head.name, "commit": head.commit},
        "seeds": {"base": base_seeds, "head": head_seeds, "base_sd": base_sd, "head_sd": head_sd},
        "unsliced": found.unsliced,
    }
    failed = reasons(facts, policy)
    return facts | {"notes": notes(facts), "gate": {"passed": not failed, "reasons": failed}}


def compare_pair(found: Pair, policy: Compare) -> Facts:
    """What follows from the predictions alone."""
    score = load(found.task, Score)
    measure = partial(score.metrics, settings=found.settings)
    sums = [score.row_sums(found.targets, outputs, found.settings) for outputs in (found.base, found.head)]
    tested = contrast(sums, found, None, measure, policy)
    groups, unit = len(set(found.groups)), score.METRICS[0].unit
    rules = {one.name: Rule(policy.margin if one.unit == unit else 0.0, policy.alpha) for one in score.METRICS}
    if score.METRICS[0].name not in tested:
        raise InputError(f"{policy.split}: no row on which the {score.METRICS[0].words} of both is defined")
    metrics = [as_facts(one, tested[one.name], groups, rules[one.name]) for one in score.METRICS if one.name in tested]
    known = measure(sums[0].sum(axis=0))
    pieces = compare_slices(sums, found, measure, score.METRICS[0], policy)
    return {
        "split": policy.split,
        "rows": found.counts,
        "groups": groups,
        "primary": score.METRICS[0].name,
        "metrics": metrics,
        "undefined": [one.words for one in score.METRICS if one.name in known.keys() - tested.keys()],
        "mcnemar": discordant(sums, measure, score.RATE) if score.RATE else None,
        "slices": pieces,
        "slices_untested": len(found.slices) - len(pieces),
        "verdict": {
            "outcome": metrics[0]["outcome"],
            "sentence": sentence(metrics[0], policy),
            "margin": policy.margin,
            "alpha": policy.alpha,
            "detectable": detectable(metrics[0]["error"], policy.alpha, policy.margin),
            "power": power(policy.margin, metrics[0]["error"], policy.alpha, policy.margin),
        },
    }


def discordant(sums: list[Floats], measure: Measure, rate: str) -> Facts:
    """The exact test of McNemar (1947) on rows: those only one system gets right, and p, as if rows were independent.

    Both numbers are plain to see, so it is shown; it knows nothing of groups, so it decides nothing.
    """
    base, head = (measure(one)[rate].astype(np.int64) for one in sums)
    exact = mcnemar(head, base)
    return {"head_only": exact["model_only"], "base_only": exact["baseline_only"], "p_value": exact["p_value"]}


def contrast(
    sums: list[Floats], found: Pair, piece: Slice | None, measure: Measure, policy: Compare
) -> dict[str, Difference]:
    """Every metric's difference on all rows, or on a slice's."""
    rows: Ints = np.arange(len(found.groups)) if piece is None else piece.rows
    groups = [found.groups[row] for row in rows]
    base, head = (by_group(one[rows], groups) for one in sums)
    names = ("compare", policy.split) if piece is None else ("compare", policy.split, piece.column, piece.value)
    return differences(base, head, measure, policy.samples, generator(0, *names))


def as_facts(
    metric: Metric, difference: Difference, groups: int, rule: Rule, adjusted: float | None = None
) -> dict[str, Any]:
    """A difference with its interval, error and outcome; `tost` is the interval that decides on equivalence."""
    low, high = difference.interval(1 - rule.alpha)
    return {
        "name": metric.name,
        "words": metric.words,
        "base": difference.base,
        "head": difference.head,
        "difference": difference.value,
        "low": low,
        "high": high,
        "tost": list(difference.interval(1 - 2 * rule.alpha)),
        "error": difference.error,
        "p_value": difference.p_value,
        "outcome": outcome(metric, difference, groups, rule, adjusted),
    }


def compare_slices(sums: list[Floats], found: Pair, measure: Measure, primary: Metric, policy: Compare) -> list[Facts]:
    """The primary metric on every slice that is large enough and has one.

    The p-values are adjusted for their number (Benjamini and Hochberg 1995): of the slices that are called improved
    or regressed, no more than alpha are expected to be called so wrongly.
    """
    groups = [len({found.groups[row] for row in piece.rows}) for piece in found.slices]
    large = [
        (piece, count)
        for piece, count in zip(found.slices, groups, strict=True)
        if len(piece.rows) >= policy.min_slice_rows and can_reject(count, policy.alpha)
    ]
    contrasts = [contrast(sums, found, piece, measure, policy).get(primary.name) for piece, _ in large]
    tested = [(*one, difference) for one, difference in zip(large, contrasts, strict=True) if difference]
    adjusted = false_discovery_control([difference.p_value for *_, difference in tested]).tolist() if tested else []
    rule = Rule(policy.margin, policy.alpha)
    return [
        {
            "column": piece.column,
            "value": piece.value,
            "rows": len(piece.rows),
            "adjusted": p_value,
            **as_facts(primary, difference, count, rule, p_value),
        }
        for (piece, count, difference), p_value in zip(tested, adjusted, strict=True)
    ]
