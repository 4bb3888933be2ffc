"""Paired differences against other implementations and against what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipy_bootstrap

from bonafide.comparison.power import detectable, power, threshold
from bonafide.evaluation.classification_metrics import from_sums
from bonafide.evaluation.paired_tests import bca, differences, permuted, resampled
from bonafide.evaluation.statistics import percentile, ratio
from bonafide.project.randomness import generator

ROWS = 60


def mean(sums):
    return {"mean": sums[..., 0] / sums[..., 1]}


def macro_f1(sums):
    return {"f1_macro": from_sums(sums, 2)["f1_macro"]}


def values_of(seed, rows=ROWS):
    """Skewed values (rows, 2): a value and a count of one."""
    return np.stack([generator(seed).exponential(size=rows), np.ones(rows)], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_bca_agrees_with_scipy_on_a_mean(seed):
    sums = values_of(seed)
    draws = resampled(sums * (0, 1), sums, mean, 20_000, generator(seed, "draws"))["mean"]
    left_out = (sums[:, 0].sum() - sums[:, 0]) / (ROWS - 1)
    ours = bca(sums[:, 0].mean(), draws, left_out, 0.95)
    theirs = scipy_bootstrap((sums[:, 0],), np.mean, n_resamples=20_000, method="BCa", rng=seed).confidence_interval
    spread = sums[:, 0].std() / np.sqrt(ROWS)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.06 * spread)
    percentile = np.quantile(draws, [0.025, 0.975])
    assert percentile != pytest.approx((theirs.low, theirs.high), abs=0.06 * spread)  # the test can tell them apart


def test_bca_is_scipys_to_the_last_digits_on_the_same_draws():
    sums = values_of(5)[:, 0]
    theirs = scipy_bootstrap((sums,), np.mean, n_resamples=999, method="BCa", rng=5)
    ours = bca(sums.mean(), theirs.bootstrap_distribution, (sums.sum() - sums) / (ROWS - 1), 0.95)
    expected = theirs.confidence_interval
    assert ours == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_where_bca_is_not_defined_it_is_the_percentile_interval():
    """A value above a million draws, and a jackknife that follows one group alone."""
    draws, outlier = np.linspace(0, 1, 1_000_000), np.zeros(2000)
    outlier[0] = -1.0
    assert bca(1.1, draws, outlier, 0.95) == pytest.approx((0.025, 0.975))


@given(st.floats(-1, 1), st.floats(0.5, 0.999))
def test_an_interval_without_spread_is_the_value(value, level):
    assert bca(value, np.full(100, value), np.full(9, value), level) == pytest.approx((value, value))


@given(st.lists(st.floats(-1, 1), min_size=20, max_size=60), st.floats(-1, 1))
def test_intervals_are_nested_and_ordered(draws, value):
    draws, left_out = np.array(draws), generator(1).normal(size=12)
    (outer_low, outer_high), (low, high) = (bca(value, draws, left_out, level) for level in (0.95, 0.9))
    assert outer_low <= low <= high <= outer_high


def test_p_counts_ties_and_itself():
    base, head = (values_of(seed, 8) for seed in (1, 2))
    assert permuted(base, base, mean, 199, generator(1)) == {"mean": 1.0}
    far = head + np.array([100.0, 0.0])
    assert permuted(base, far, mean, 1999, generator(1))["mean"] == pytest.approx(2 / 2**8, abs=0.006)


def test_coins_of_two_kinds_agree():
    base, head = (values_of(seed, 40) for seed in (3, 4))
    bytes_, words = (permuted(base, head, mean, 20_000, generator(1), kind)["mean"] for kind in (np.uint8, np.int64))
    assert bytes_ == pytest.approx(words, abs=0.01)


def test_draws_in_chunks_are_as_many_and_as_wide(monkeypatch):
    base, head = (values_of(seed) for seed in (6, 7))
    whole = resampled(base, head, mean, 2000, generator(1))["mean"]
    monkeypatch.setattr("bonafide.evaluation.statistics.CELLS", 7 * ROWS)
    parts = resampled(base, head, mean, 2000, generator(1))["mean"]
    assert parts.shape == whole.shape == (2000,)
    assert parts.std() == pytest.approx(whole.std(), rel=0.1)


def test_the_standard_error_is_that_of_the_mean_difference():
    base, head = (values_of(seed) for seed in (8, 9))
    found = differences(base, head, mean, 4000, generator(1))["mean"]
    assert found.error == pytest.approx((head - base)[:, 0].std(ddof=1) / np.sqrt(ROWS))
    assert found.draws.std() == pytest.approx(found.error, rel=0.05)


@given(st.floats(1e-4, 0.1), st.floats(0.001, 0.2), st.floats(0.001, 0.5))
def test_the_detectable_difference_is_found_four_times_in_five(error, alpha, margin):
    effect = detectable(error, alpha, margin)
    assert power(effect, error, alpha, margin) == pytest.approx(0.8)
    assert power(threshold(error, alpha, margin), error, alpha, margin) == pytest.approx(0.5)
    assert power(2 * effect, error, alpha, margin) > 0.8


def test_two_equal_systems_do_not_say_what_can_be_seen():
    assert detectable(0.0, 0.05, 0.01) is power(0.03, 0.0, 0.05, 0.01) is None


def test_power_is_the_textbooks_where_the_margin_is_small():
    # z-test: power 0.8 at alpha 0.05 needs an effect of (1.960 + 0.842) standard errors (Cohen 1988)
    assert detectable(0.01, 0.05, 1e-6) == pytest.approx(0.02802, abs=1e-5)


def share(sums):
    """Of what a row may have none."""
    return {"share": ratio(sums[..., 0], sums[..., 1])}


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_resamples_without_a_number_are_left_out(seed, carrying):
    """So few groups have any of it that most resamples, and some jackknife totals, have none."""
    base, head = np.zeros((30, 2)), np.zeros((30, 2))
    base[:carrying, 1] = head[:carrying, 1] = 1
    head[:carrying, 0] = generator(seed).random(carrying)
    found = differences(base, head, share, 200, generator(seed, "draws"))["share"]
    assert np.isfinite([*found.draws, *found.left_out, *found.interval(0.95), found.error]).all()
    assert len(found.draws) < 200 or carrying > 2
    assert found.p_value >= 2 / 2**carrying - 0.1


def test_a_number_that_a_side_has_not_is_no_difference():
    base, head = values_of(1, 12), values_of(2, 12)
    assert differences(base * np.nan, head, mean, 50, generator(1)) == {}
    assert permuted(base * np.nan, head, mean, 50, generator(1)) == {"mean": 1.0}
    assert np.isnan(percentile(np.full(9, np.nan))).all()
