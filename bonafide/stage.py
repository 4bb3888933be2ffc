"""What is the same for all stages: typed params, pinned chance, one tracked run, one report, one line an error."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self

from filelock import FileLock, Timeout

from bonafide.params.load import load_params
from bonafide.params.sections import Params
from bonafide.project.activation import unwatch
from bonafide.project.arrays import Metrics
from bonafide.project.console import say
from bonafide.project.environment import die_with_parent, pin
from bonafide.project.errors import ENVIRONMENT, REFUSED, InputError
from bonafide.project.files import write_json
from bonafide.project.paths import REPORTS
from bonafide.project.restore_outs import restore_outs
from bonafide.tracking.stage_run import stage_run

WRITER_LOCK = Path(".bonafide/writer.lock")  # the workspace's, not the root's: temporary experiments run side by side
WRITER_SECONDS = 30  # an orphan of a killed `dvc repro` gets SIGTERM and needs a moment to end
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def run_stage(stage: Callable[[Params], Metrics], guard: Callable[[], None] = die_with_parent) -> None:
    """Run one stage: read params, track it, write `reports/<stage>.json`; exit with one line an error of the user's.

    `guard` ends the process with its parent. Of several processes only rank 0 speaks, tracks and writes.
    """
    unwatch()
    name = stage.__name__
    for number in SIGNALS:
        signal.signal(number, _stop)
    guard()
    follows = os.environ.get("RANK", "0") != "0"
    try:
        _follow(stage) if follows else _run(stage, name)
    except InputError as error:
        fail(name, str(error), REFUSED)
    except Timeout as held:
        fail(name, f"another stage is writing here ({held.lock_file} is held)", ENVIRONMENT)
    except OSError as error:
        fail(name, f"{error.filename}: {error.strerror}" if error.filename else str(error), ENVIRONMENT)
    except SystemExit as end:
        signal.alarm(0)
        fail(name, "interrupted", int(end.code or 0))


def _run(stage: Callable[[Params], Metrics], name: str) -> None:
    started = time.monotonic()
    params = load_params()
    WRITER_LOCK.parent.mkdir(exist_ok=True)
    with FileLock(WRITER_LOCK, timeout=WRITER_SECONDS):
        pin(params.seed, params.threads)
        with stage_run(params, name) as tell:
            metrics = stage(params)
            write_json(REPORTS / f"{name}.json", metrics)
            tell(metrics)
    say(f"{name}: done in {time.monotonic() - started:.0f} s")


def _follow(stage: Callable[[Params], Metrics]) -> None:
    params = load_params()
    pin(params.seed, params.threads)
    stage(params)


def fail(name: str, message: str, code: int) -> NoReturn:
    """Print the reason, a line each, bring the old outs back and exit; a process that follows another just exits."""
    if os.environ.get("RANK", "0") != "0":
        sys.exit(code)
    for line in message.splitlines():
        say(f"{name}: {line}")
    restore_outs(name)
    sys.exit(code)


class Stop:
    """Within it a signal only leaves its exit code in `code`, for a loop that saves first; it has so many seconds."""

    def __init__(self, seconds: int) -> None:
        """Nothing has asked to stop."""
        self.seconds, self.code = seconds, 0

    def __enter__(self) -> Self:
        """Take the signals over."""
        for number in SIGNALS:
            signal.signal(number, self._note)
        return self

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.code = SIGNALS[signal.Signals(number)]
        signal.signal(signal.SIGALRM, lambda _number, _frame: _stop(number, None))
        signal.alarm(self.seconds)

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        signal.alarm(0)
        for number in SIGNALS:
            signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End the stage, and again a second later: an exception that is raised within a destructor is swallowed."""
    code = SIGNALS[signal.Signals(number)]
    signal.signal(signal.SIGALRM, lambda _number, _frame: _stop(number, None))
    signal.alarm(1)
    sys.exit(code)
