"""benchmarks/training.py: what it says of made-up measurements."""

import pytest

from benchmarks.training import ARMS, judge, summarise


def figures(speed, peak, gemm=100.0, late=0.5):
    losses = {"first_loss": 0.70, "early_loss": 0.68, "late_loss": late, "steps": 40}
    return {"tokens_per_second": speed, "peak_mb": peak, "gemm_gflops": gemm, "weights": 10_000_000} | losses


def test_ratios_are_taken_within_a_round():
    slow = {"defaults": figures(100, 9), "trainer": figures(500, 8), "exact": figures(1000, 7)}
    fast = {"defaults": figures(200, 9), "trainer": figures(1000, 8), "exact": figures(2000, 7, gemm=200)}
    summary = summarise([slow, fast, fast], "cpu")
    assert summary["ratio_vs_trainer"] == 2
    assert summary["ratio_vs_defaults"] == 10
    assert summary["gemm_fraction"] == pytest.approx(6 * 1e7 * 2000 / 100e9)
    assert summary["tokens_per_second"] == {"defaults": 200, "trainer": 1000, "exact": 2000}


@pytest.mark.parametrize(("exact", "peak", "missed"), [(1000, 8, set()), (749, 9, {"ratio_vs_trainer", "peak_mb"})])
def test_bars(exact, peak, missed):
    speeds = {"defaults": (100, 9), "trainer": (500, 8), "exact": (exact, peak)}
    found = {arm: figures(*both, gemm=80.0) for arm, both in speeds.items()}
    bars = judge(summarise([found], "cpu"), list(found))
    assert {name for name, bar in bars.items() if not bar["holds"]} - {"gemm_fraction"} == missed
    assert bars["gemm_fraction"]["holds"] == (exact == 1000)


def test_what_was_asked_for_and_not_measured_is_missed():
    bars = judge(summarise([{"trainer": figures(500, 8)}], "cpu"), list(ARMS))
    assert {name for name, bar in bars.items() if bar["holds"]} == {"sane_losses"}
    assert list(judge(summarise([{"trainer": figures(500, 8)}], "cpu"), ["trainer"])) == ["sane_losses"]


def test_losses_that_do_not_fall_are_told():
    assert not judge(summarise([{"loop": figures(500, 8, late=0.7)}], "cpu"), ["loop"])["sane_losses"]["holds"]
