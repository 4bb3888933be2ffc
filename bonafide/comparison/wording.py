"""The words of `bonafide compare`; the report's sentence is evaluation.verdict's."""

from collections.abc import Sequence
from typing import Any

from bonafide.params.sections import Compare
from bonafide.project.numbers import plain

Facts = dict[str, Any]


def sentence(metric: Facts, policy: Compare) -> str:
    """The verdict in one sentence that stands alone.

    >>> "Macro F1 on test rose from 0.871 to 0.884, by 0.013 (95% interval 0.004 to 0.022, p = 0.003): improved."
    """
    first, *rest = metric["words"].split()
    called = " ".join([first.capitalize() if first.islower() else first, *rest])
    moved = f"{called} on {policy.split} {movement(metric)}"
    within = f"within the margin of {policy.margin:,g}"
    if metric["outcome"] == "equivalent":
        low, high = metric["tost"]
        inner = interval(2 * policy.alpha, low, high, metric)
        return f"{moved} ({inner}, p = {p_value(metric)}): equivalent {within}."
    shown = f"{moved} ({interval(policy.alpha, metric['low'], metric['high'], metric)}, p = {p_value(metric)})"
    return f"{shown}: {metric['outcome']}."


def movement(metric: Facts) -> str:
    """From what to what, and by how much."""
    base, head, difference = (plain(metric[key], largest(metric)) for key in ("base", "head", "difference"))
    if metric["difference"] == 0:
        return f"stayed at {head}"
    verb = "rose" if metric["difference"] > 0 else "fell"
    return f"{verb} from {base} to {head}, by {difference.removeprefix('-')}"


def interval(alpha: float, low: float, high: float, metric: Facts) -> str:
    """An interval of a difference, as head less base."""
    return f"{100 * (1 - alpha):g}% interval {plain(low, largest(metric))} to {plain(high, largest(metric))}"


def largest(metric: Facts) -> float:
    """The value whose decimals all that is said of a metric has."""
    return float(max(abs(metric["base"]), abs(metric["head"])))


def p_value(facts: Facts, key: str = "p_value") -> str:
    """Three digits: enough to see on which side of alpha it is."""
    return f"{facts[key]:.3g}"


def reasons(facts: Facts, policy: Compare) -> list[str]:
    """Why the gate does not pass, if it does not. Values of slices are the user's: escape them where they are shown."""
    verdict = facts["verdict"]
    failed = [verdict["sentence"]] if verdict["outcome"] in policy.fail_on else []
    if facts["unsliced"] and policy.fail_on_slices:
        failed.append(f"The slices cannot be judged: {facts['unsliced']}.")
    lost = [piece for piece in facts["slices"] if piece["outcome"] in policy.fail_on_slices]
    return failed + ([slices_sentence(facts, lost)] if lost else [])


def slices_sentence(facts: Facts, lost: Sequence[Facts]) -> str:
    """How many slices regressed, and the one that lost most."""
    worst = max(lost, key=lambda piece: abs(piece["difference"]))
    counted = f"{len(lost)} of {len(facts['slices'])} slices regressed{', the most' if len(lost) > 1 else ','}"
    moved = f"{worst['words']} {movement(worst)}"
    adjusted = f"p = {p_value(worst, 'adjusted')}, adjusted for the number of slices"
    return f"{counted} where {worst['column']} is {worst['value']}: {moved} ({adjusted})."


def notes(facts: Facts) -> list[str]:
    """What a reader has to know to read the verdict right."""
    rows = facts["rows"]
    differ = {
        "are in the base only": rows["base_only"],
        "are in the head only": rows["head_only"],
        "have another target, of which the head's counts": rows["targets_changed"],
        "have other inputs": rows["inputs_changed"] or 0,
    }
    told = "; ".join(f"{count:,} {what}" for what, count in differ.items() if count)
    found = [f"The test rows differ: {told}. The {rows['common']:,} common ones are compared."] if told else []
    verdict = facts["verdict"]
    if verdict["detectable"] is not None:
        least = f"These rows show a true difference of {plain(verdict['detectable'])} in 80 of 100 comparisons"
        found.append(f"{least}, one of the margin {verdict['margin']:,g} in {100 * verdict['power']:.0f}.")
    for side, deviation in (("base", facts["seeds"]["base_sd"]), ("head", facts["seeds"]["head_sd"])):
        if deviation is not None:
            over = f"Over {facts['seeds'][side]} seeds, the {side}'s {facts['metrics'][0]['words']}"
            found.append(f"{over} has a standard deviation of {plain(deviation)}.")
    if facts["undefined"]:
        found.append(f"Not compared, since a side has none: {', '.join(facts['undefined'])}.")
    if facts["unsliced"]:
        found.append(f"There are no slices: {facts['unsliced']}.")
    return found
