"""The verdict on two models: laws that hold for any predictions, and error rates in simulations."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from bonafide.comparison.compare import judge
from bonafide.comparison.matched_rows import Pair, match, numbered
from bonafide.comparison.power import power
from bonafide.comparison.wording import notes, reasons
from bonafide.evaluation.slices import Slice
from bonafide.params.sections import Compare
from bonafide.project.randomness import generator
from bonafide.tasks.classification import score

POLICY = Compare(
    split="test",
    alpha=0.05,
    margin=0.01,
    samples=1000,
    min_slice_rows=20,
    fail_on=["regressed"],
    fail_on_slices=["regressed"],
)
COUNTS = {"common": 1255, "base_only": 0, "head_only": 0, "targets_changed": 0, "inputs_changed": 0}
SETTINGS = {"labels": ["no", "yes"], "calibration_bins": 0}
MIRROR = {"improved": "regressed", "regressed": "improved"}


def simulate(rng, rows=1255, gain=0.0, bias=0.0, own=0.4):
    """Two systems of 0.87 accuracy that share most of their errors, on groups of 4.5 rows that are alike.

    `gain` is what the head knows more, `bias` how much more it leans to one class, `own` the errors of its own.
    """
    group = np.repeat(np.arange(rows), rng.geometric(1 / 4.5, size=rows))[:rows]
    labels = (rng.random(rows) < 0.55).astype(np.int64)
    groups = group[-1] + 1

    def noise(within, between):
        return between * rng.normal(size=groups)[group] + within * rng.normal(size=rows)

    shared = noise(0.85, 0.4)
    systems = []
    for strength, lean in ((1.2, 0.0), (1.2 + gain, bias)):
        score = (2 * labels - 1) * strength + lean + shared + noise(own, 0.625 * own)
        positive = 1 / (1 + np.exp(-2 * score))
        systems.append(np.stack([1 - positive, positive], axis=1))
    return Pair("classification", SETTINGS, [f"g{g}" for g in group], targets(labels), *systems, [], "", COUNTS)


def targets(labels):
    return np.array(SETTINGS["labels"], dtype=object)[labels]


def totals(pair, outputs):
    return score.metrics(score.row_sums(pair.targets, outputs, SETTINGS).sum(axis=0), SETTINGS)


def swapped(pair):
    return replace(pair, base=pair.head, head=pair.base)


def sliced(pair, count=4):
    pieces = [Slice("part", f"p{part}", np.arange(part, len(pair.targets), count)) for part in range(count)]
    return replace(pair, slices=pieces)


def test_identical_systems_have_p_1_and_are_equivalent():
    found = simulate(generator(1))
    same = sliced(replace(found, head=found.base.copy()))
    facts = judge(same, POLICY)
    for row in facts["metrics"] + facts["slices"]:
        assert (row["p_value"], row["difference"], row["low"], row["high"]) == (1, 0, 0, 0)
        assert row["outcome"] == "equivalent"
    assert facts["mcnemar"] == {"head_only": 0, "base_only": 0, "p_value": 1}
    assert facts["verdict"]["detectable"] is None
    assert "p = 1): equivalent within the margin of 0.01." in facts["verdict"]["sentence"]


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 1.0]))
def test_swapping_the_systems_flips_signs_and_outcomes(seed, gain):
    pair = sliced(simulate(generator(seed), rows=200, gain=gain))
    there, back = judge(pair, POLICY), judge(swapped(pair), POLICY)
    for one, other in zip(there["metrics"] + there["slices"], back["metrics"] + back["slices"], strict=True):
        assert one["difference"] == pytest.approx(-other["difference"])
        assert (one["low"], one["high"]) == pytest.approx((-other["high"], -other["low"]), abs=1e-9)
        assert (one["base"], one["head"]) == (other["head"], other["base"])
        assert one["p_value"] == other["p_value"]
        assert MIRROR.get(one["outcome"], one["outcome"]) == other["outcome"]
    assert there["mcnemar"]["head_only"] == back["mcnemar"]["base_only"]
    assert there["verdict"]["detectable"] == pytest.approx(back["verdict"]["detectable"])


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_the_order_of_the_rows_does_not_matter(seed):
    pair = simulate(generator(seed), rows=150, gain=0.2)
    order = generator(seed, "order").permutation(150)
    groups = [pair.groups[row] for row in order]
    moved = replace(pair, groups=groups, targets=pair.targets[order], base=pair.base[order], head=pair.head[order])
    for one, other in zip(judge(pair, POLICY)["metrics"], judge(moved, POLICY)["metrics"], strict=True):
        assert one["outcome"] == other["outcome"]
        numbers = ("base", "head", "difference", "low", "high", "p_value")
        assert [one[key] for key in numbers] == pytest.approx([other[key] for key in numbers], abs=1e-9)


@settings(max_examples=30)
@given(st.lists(st.text(max_size=2), unique=True, max_size=12), st.data())
def test_rows_are_matched_by_key_in_an_order_of_their_own(keys, data):
    old = data.draw(st.permutations(keys))
    new = data.draw(st.permutations([*keys[: len(keys) // 2], "only here"]))
    before, after = match(old, new)
    assert [old[row] for row in before] == [new[row] for row in after] == sorted(set(old) & set(new))


def test_equal_texts_are_told_apart_by_how_often_they_stood_above():
    assert numbered(["a", "b", "a"]) == [("a", 0), ("b", 0), ("a", 1)]


def test_slices_are_adjusted_for_their_number():
    facts = judge(sliced(simulate(generator(4), rows=600, gain=0.6), 5), POLICY)
    p_values, adjusted = ([piece[key] for piece in facts["slices"]] for key in ("p_value", "adjusted"))
    assert adjusted == pytest.approx(false_discovery_control(p_values))
    assert [adjusted[i] for i in np.argsort(p_values)] == sorted(adjusted)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert adjusted != p_values


def test_a_slice_that_is_too_small_or_of_too_few_groups_is_not_judged():
    pair = simulate(generator(5), rows=400, gain=1.0)
    one_group = [0, 1] * 20
    groups = [f"few{g}" for g in one_group] + pair.groups[40:]
    pieces = [Slice("c", "few groups", np.arange(40)), Slice("c", "few rows", np.arange(50, 60))]
    facts = judge(replace(pair, groups=groups, slices=pieces), POLICY)
    assert (facts["slices"], facts["slices_untested"]) == ([], 2)


def test_groups_too_few_for_any_swap_to_be_rare_decide_nothing():
    pair = simulate(generator(6), rows=400, gain=3.0, own=0.01)
    few = replace(pair, groups=[f"{i % 5}" for i in range(400)])
    assert judge(few, POLICY)["verdict"]["outcome"] == "not enough evidence"
    assert judge(pair, POLICY)["verdict"]["outcome"] == "improved"


def test_groups_too_few_show_no_equivalence_either():
    pair = simulate(generator(6), rows=2000, own=0.01)
    few = replace(pair, groups=[f"{i % 5}" for i in range(2000)])
    assert judge(pair, POLICY)["verdict"]["outcome"] == "equivalent"
    assert judge(few, POLICY)["metrics"][0]["error"] > 0
    assert judge(few, POLICY)["verdict"]["outcome"] == "not enough evidence"


def test_a_better_model_improves_the_metrics_of_which_less_is_better_too():
    facts = judge(simulate(generator(10), gain=1.0), POLICY)
    assert {metric["outcome"] for metric in facts["metrics"]} == {"improved"}
    falling = {metric["name"] for metric in facts["metrics"] if metric["difference"] < 0}
    assert falling == {"log_loss", "brier"}


@pytest.mark.parametrize(
    ("gain", "own", "fails"), [(0.6, 0.4, False), (-0.6, 0.4, True), (0.0, 0.4, False), (0.0, 0.02, False)]
)
def test_the_sentence_stands_alone_and_the_gate_follows_the_policy(gain, own, fails):
    facts = judge(simulate(generator(7), gain=gain, own=own), POLICY) | {"unsliced": ""}
    outcome, sentence = facts["verdict"]["outcome"], facts["verdict"]["sentence"]
    expected = {(0.6, 0.4): "improved", (-0.6, 0.4): "regressed", (0.0, 0.4): "not enough evidence"}
    assert outcome == expected.get((gain, own), "equivalent")
    assert sentence.startswith("Macro F1 on test ")
    assert f"): {outcome}" in sentence
    assert sentence.endswith(".")
    assert reasons(facts, POLICY) == ([sentence] if fails else [])
    json.dumps(facts, allow_nan=False)


def test_slices_that_were_to_be_judged_and_cannot_be_fail_the_gate():
    facts = judge(simulate(generator(8)), POLICY) | {"unsliced": "main: data/validated/test.parquet is not there"}
    assert reasons(facts, POLICY) == [f"The slices cannot be judged: {facts['unsliced']}."]


def test_what_differs_between_the_rows_is_said():
    facts = judge(simulate(generator(9)), POLICY)
    facts |= {"seeds": {"base": 3, "head": 1, "base_sd": 0.0042, "head_sd": None}, "unsliced": ""}
    facts["rows"] = {"common": 1200, "base_only": 55, "head_only": 0, "targets_changed": 2, "inputs_changed": None}
    said = notes(facts)
    assert said[0] == (
        "The test rows differ: 55 are in the base only; 2 have another target, of which the head's counts. "
        "The 1,200 common ones are compared."
    )
    assert said[1].startswith("These rows show a true difference of 0.0")
    assert said[2] == "Over 3 seeds, the base's macro F1 has a standard deviation of 0.004."


@pytest.fixture(scope="module")
def null():
    """2,000 pairs of systems that are equally good."""
    rng = generator(20)
    return [judge(simulate(rng), POLICY) for _ in range(2000)]


@pytest.fixture(scope="module")
def planted():
    """1,000 pairs whose head is better by 3 points of macro F1, and the true differences."""
    rng, gain = generator(21), 0.166
    truth = simulate(generator(22), rows=2_000_000, gain=gain)
    base, head = (totals(truth, one) for one in (truth.base, truth.head))
    return [judge(simulate(rng, gain=gain), POLICY) for _ in range(1000)], {m: head[m] - base[m] for m in base}


def share(facts, *outcomes):
    return np.mean([one["verdict"]["outcome"] in outcomes for one in facts])


@pytest.mark.slow
def test_a_difference_is_called_as_often_as_alpha_says_where_there_is_none(null):
    error = 3 * np.sqrt(0.05 * 0.95 / len(null))
    assert share(null, "improved", "regressed") == pytest.approx(0.05, abs=error)
    assert share(null, "improved") == pytest.approx(share(null, "regressed"), abs=2 * error)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["f1_macro", "accuracy", "mcc"])
def test_intervals_cover_the_truth(null, planted, metric):
    facts, truth = planted
    for many, true in ((null, 0.0), (facts, truth[metric])):
        rows = [next(row for row in one["metrics"] if row["name"] == metric) for one in many]
        assert 0.93 <= np.mean([row["low"] <= true <= row["high"] for row in rows]) <= 0.97


@pytest.mark.slow
def test_a_gain_of_three_points_is_found_as_often_as_was_predicted(planted):
    facts, truth = planted
    assert truth["f1_macro"] == pytest.approx(0.03, abs=0.001)
    predicted = np.mean([power(0.03, one["metrics"][0]["error"], 0.05, 0.01) for one in facts])
    assert share(facts, "improved") == pytest.approx(predicted, abs=0.05)


@pytest.mark.slow
def test_systems_that_err_in_different_ways_and_as_often_are_not_told_apart_more_than_alpha_allows():
    """No swap is fair here: the head leans to one class and knows more, which gives the same macro F1."""
    rng = generator(23)
    facts = [judge(simulate(rng, gain=0.154, bias=0.6), POLICY) for _ in range(500)]
    assert share(facts, "improved", "regressed") <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.slow
def test_systems_that_differ_by_the_margin_are_seldom_called_equivalent():
    rng, gain, own = generator(24), 0.053, 0.08
    truth = simulate(generator(25), rows=2_000_000, gain=gain, own=own)
    base, head = (totals(truth, one) for one in (truth.base, truth.head))
    assert head["f1_macro"] - base["f1_macro"] == pytest.approx(0.01, abs=0.0005)
    facts = [judge(simulate(rng, gain=gain, own=own), POLICY) for _ in range(500)]
    called = share(facts, "equivalent")
    assert 0 < called <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)
