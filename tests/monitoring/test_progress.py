"""Progress as a terminal and a log get it, on a clock of our own."""

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.monitoring import progress
from bonafide.monitoring.progress import Progress, duration


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved: `clock[0] += 1`."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def width(monkeypatch):
    def set_width(columns):
        size = os.terminal_size((columns, 24))
        monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: size)

    set_width(120)
    return set_width


def test_a_log_gets_a_line_every_30_seconds_and_at_the_end(clock, width, capsys):
    job = Progress(100)
    for step in range(1, 101):
        clock[0] += 1
        job.update(step, 50, 0.5, 1e-5)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["30/100", "60/100", "90/100", "100/100"]
    assert lines[0] == "step 30/100  loss 0.500  lr 1.0e-05  50 tokens/s  70 s left"


def test_validation_slows_the_job_and_not_its_steps(clock, width):
    job = Progress(4)
    clock[0] += 10
    job.excluded_seconds = 8.0
    job.update(1, 50, 0.5, 1e-5)
    assert (job.tokens_per_second, job.seconds_left) == (25, 30)


def test_a_terminal_gets_one_line_that_is_rewritten(clock, width, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    job = Progress(4)
    for step in range(1, 5):
        clock[0] += 1
        job.update(step, 50, 0.5, 1e-5)
        job.close() if step == 4 else None
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.endswith("\n")
    assert [len(part) for part in shown.rstrip("\n").split("\r")] == [0, 119, 119, 119, 119]


def test_a_job_that_ends_early_leaves_a_whole_line(clock, width, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    job = Progress(4)
    job.close()
    clock[0] += 1
    job.update(1, 50, 0.5, 1e-5)
    job.close()
    job.close()
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert shown.endswith("\n")


def test_a_resumed_job_counts_its_own_steps_only(clock, width, capsys):
    job = Progress(100, done=80)
    clock[0] += 40
    job.update(90, 2000, 0.5, 1e-5)
    assert job.tokens_per_second == 50
    assert job.seconds_left == 40
    assert "step 90/100" in capsys.readouterr().err


def test_mfu_is_arithmetic_over_peak_and_absent_where_no_peak_is_known(clock, width, capsys):
    job = Progress(10, flops_per_token=6e6, peak_flops=1e9)
    clock[0] += 31
    job.update(1, 31 * 100, 0.5, 1e-5)
    assert job.mfu == pytest.approx(0.6)
    assert "MFU 60 %" in capsys.readouterr().err
    assert Progress(10, flops_per_token=6e6).mfu is None


@given(st.integers(1, 130), st.booleans(), st.integers(1, 10**9), st.floats(0, 1e6))
def test_no_line_is_wider_than_the_terminal(columns, live, steps, loss):
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr(progress.shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))
        patch.setattr(sys.stderr, "isatty", lambda: live, raising=False)
        patch.setattr(sys.stderr, "write", printed.append, raising=False)
        job = Progress(steps, flops_per_token=6e7, peak_flops=1e12)
        job.shown -= 60
        job.update(1, 512, loss, 3e-4)
    line = "".join(printed).strip("\r\n")
    assert len(line) <= columns
    assert line.startswith("step"[: len(line)])


def test_what_does_not_fit_goes_before_the_time_left(clock, width, capsys):
    width(36)
    job = Progress(100)
    clock[0] += 30
    job.update(10, 50, 0.5, 1e-5)
    assert capsys.readouterr().err == "step 10/100  loss 0.500  4 min left\n"


def test_durations_are_said_as_people_do():
    assert [duration(s) for s in (0, 45, 99, 100, 720, 5969, 11520)] == [
        *("0 s", "45 s", "99 s", "2 min", "12 min", "99 min", "3.2 h"),
    ]
