"""Intervals and tests against other implementations, and against what they promise: coverage and error rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from bonafide.evaluation.classification_metrics import from_sums, row_sums
from bonafide.evaluation.paired_tests import permuted
from bonafide.evaluation.statistics import (
    bootstrap,
    by_group,
    mcnemar,
    percentile,
    reflected,
    wilson,
)
from bonafide.project.randomness import generator


def macro_f1(sums):
    return from_sums(sums, 2)["f1_macro"]


def permutation_test(ours, theirs, statistic, samples, rng):
    return permuted(theirs, ours, lambda sums: {"it": statistic(sums)}, samples, rng)["it"]


def paired(rows, groups, gain, rng):
    """Sums over groups of two systems whose hits correlate within groups; `gain` is what the first knows more."""
    labels = rng.integers(2, size=rows)
    group = rng.integers(groups, size=rows)
    shared = rng.normal(size=groups)[group] + rng.normal(size=rows)
    names = [f"g{index}" for index in group]
    sums = []
    for strength in (1 + gain, 1.0):
        score = (2 * labels - 1) * strength + shared + rng.normal(size=rows)
        positive = 1 / (1 + np.exp(-score))
        sums.append(by_group(row_sums(labels, np.stack([1 - positive, positive], axis=1)), names))
    return sums


@pytest.mark.parametrize(("hits", "rows"), [(0, 1), (1, 1), (0, 20), (7, 20), (81, 263), (20, 20), (999, 1000)])
def test_wilson_agrees_with_scipy(hits, rows):
    expected = binomtest(hits, rows).proportion_ci(0.95, method="wilson")
    assert wilson(hits, rows) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_newcombes_published_example():
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3: 81 of 263
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_wilson_without_rows_knows_nothing():
    assert wilson(0, 0) == (0, 1)


@given(st.integers(1, 10**6).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows))))
def test_wilson_lies_in_0_to_1_and_holds_the_rate(case):
    hits, rows = case
    low, high = wilson(hits, rows)
    assert 0 <= low <= hits / rows <= high <= 1


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_sign_test_on_rows_that_one_system_gets_right(ours, theirs):
    hits = np.array([1] * ours + [0] * theirs + [1, 0]), np.array([0] * ours + [1] * theirs + [1, 0])
    expected = binomtest(ours, ours + theirs).pvalue if ours + theirs else 1
    assert mcnemar(*hits) == {"model_only": ours, "baseline_only": theirs, "p_value": pytest.approx(expected)}


def test_sums_by_group_follow_the_names_of_the_groups_and_not_the_order_of_the_rows():
    rows = np.arange(12.0).reshape(6, 2)
    names = ["b", "a", "c", "a", "b", "a"]
    expected = [[2 + 6 + 10, 3 + 7 + 11], [0 + 8, 1 + 9], [4, 5]]
    assert by_group(rows, names).tolist() == expected
    assert by_group(rows[::-1], names[::-1]).tolist() == expected


def test_the_rows_of_a_single_group_are_taken_as_groups():
    rows = np.arange(4.0).reshape(4, 1)
    assert by_group(rows, ["only"] * 4).tolist() == rows.tolist()


def test_a_resample_has_as_many_groups_as_there_are():
    draws = bootstrap(np.ones((37, 1)), 50, generator(1))
    assert (draws == 37).all()


def test_draws_depend_on_the_seed_and_the_names_alone():
    draws = [generator(*key).random() for key in ((1, "test"), (1, "test"), (2, "test"), (1, "validation"))]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_resampling_in_chunks_changes_no_draw(monkeypatch):
    sums = generator(0).random((30, 3))
    whole = bootstrap(sums, 100, generator(1))
    tested = permutation_test(sums, sums[::-1], lambda x: x[..., 0], 100, generator(1))
    monkeypatch.setattr("bonafide.evaluation.statistics.CELLS", 210)
    assert bootstrap(sums, 100, generator(1)) == pytest.approx(whole, abs=1e-12)
    assert permutation_test(sums, sums[::-1], lambda x: x[..., 0], 100, generator(1)) == tested


def test_the_bootstrap_finds_the_standard_error_of_a_mean_over_groups():
    rng = generator(3)
    means = rng.normal(size=400)
    draws = bootstrap(np.stack([means, np.ones(400)], axis=1), 4000, rng)
    ratios = draws[:, 0] / draws[:, 1]
    assert ratios.std() == pytest.approx(means.std() / 20, rel=0.05)
    low, high = percentile(ratios)
    assert (high - low) / 2 == pytest.approx(1.96 * means.std() / 20, rel=0.08)


def test_groups_that_agree_within_widen_the_interval():
    values = np.repeat(generator(4).integers(2, size=60), 10).astype(float)
    rows = np.stack([values, np.ones(600)], axis=1)
    widths = []
    for names in ([f"{i}" for i in range(600)], [f"{i // 10}" for i in range(600)]):
        draws = bootstrap(by_group(rows, names), 1000, generator(5))
        low, high = percentile(draws[:, 0] / draws[:, 1])
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] * np.sqrt(10), rel=0.15)


def test_the_reflected_interval_takes_the_bias_off_and_holds_its_value():
    draws = np.linspace(0.05, 0.09, 1001)
    assert reflected(0.06, draws) == pytest.approx((0.031, 0.069))
    assert reflected(0.04, draws) == pytest.approx((0.0, 0.04))


def test_equal_systems_have_p_1():
    ours, _ = paired(200, 50, 0.0, generator(6))
    assert permutation_test(ours, ours.copy(), macro_f1, 200, generator(7)) == 1


def test_the_permutation_test_is_the_exact_test_where_all_swaps_can_be_counted():
    ours, theirs = paired(120, 6, 1.0, generator(8))
    swaps = np.array(np.meshgrid(*[[0, 1]] * 6)).reshape(6, -1).T
    shift = swaps @ (theirs - ours)
    all_differences = macro_f1(ours.sum(0) + shift) - macro_f1(theirs.sum(0) - shift)
    exact = (np.abs(all_differences) >= abs(all_differences[0]) - 1e-12).mean()
    assert permutation_test(ours, theirs, macro_f1, 20_000, generator(9)) == pytest.approx(exact, abs=0.015)


def test_a_clear_gain_has_the_smallest_p_there_is():
    ours, theirs = paired(600, 200, 3.0, generator(10))
    assert permutation_test(ours, theirs, macro_f1, 500, generator(11)) == 1 / 501


def test_the_permutation_test_errs_as_often_as_it_says():
    rng = generator(12)
    tests = 400
    p_values = [permutation_test(*paired(150, 40, 0.0, rng), macro_f1, 99, rng) for _ in range(tests)]
    for level in (0.05, 0.2):
        error = 3 * np.sqrt(level * (1 - level) / tests)
        assert np.mean(np.array(p_values) <= level) <= level + error


def test_a_swap_of_single_rows_would_err_too_often_where_groups_agree():
    """The test that the one above can fail: grouped noise, tested as if rows were independent."""
    rng = generator(13)
    p_values = []
    for _ in range(150):
        labels, group = rng.integers(2, size=200), np.arange(200) // 20
        sums = []
        for _system in range(2):
            score = (2 * labels - 1) * (1 + 2 * rng.normal(size=10)[group])
            positive = 1 / (1 + np.exp(-score))
            sums.append(row_sums(labels, np.stack([1 - positive, positive], axis=1)))
        p_values.append(permutation_test(*sums, macro_f1, 99, rng))
    assert np.mean(np.array(p_values) <= 0.05) > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["f1_macro", "mcc", "log_loss", "calibration_error"])
def test_intervals_over_groups_cover_the_truth(metric):
    rng = generator(14)

    def draw(groups):
        group = np.repeat(np.arange(groups), rng.integers(1, 9, size=groups))
        labels = rng.integers(2, size=len(group))
        noise = rng.normal(size=groups)[group] + rng.normal(size=len(group))
        positive = 1 / (1 + np.exp(-2 * ((2 * labels - 1) + noise)))
        return row_sums(labels, np.stack([1 - positive, positive], axis=1), 10), group

    truth = float(from_sums(draw(200_000)[0].sum(axis=0), 2)[metric])
    covered = []
    for _ in range(400):
        rows, group = draw(300)
        sums = by_group(rows, [f"{index}" for index in group])
        value, draws = (
            float(from_sums(sums.sum(axis=0), 2)[metric]),
            from_sums(bootstrap(sums, 300, rng), 2)[metric],
        )
        low, high = reflected(value, draws) if metric == "calibration_error" else percentile(draws)
        covered.append(low <= truth <= high)
    assert 0.90 <= np.mean(covered) <= 0.985
