"""What is the same for all stages: typed params, pinned chance, one tracked run, one report, one line an error."""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from filelock import FileLock, Timeout

from bonafide.params.load import load_params
from bonafide.params.sections import Params
from bonafide.project.activation import unwatch
from bonafide.project.arrays import Metrics
from bonafide.project.console import say
from bonafide.project.environment import pin
from bonafide.project.errors import ENVIRONMENT, REFUSED, InputError
from bonafide.project.files import write_json
from bonafide.project.paths import REPORTS
from bonafide.project.process import die_with_parent
from bonafide.project.restore_outs import restore_outs
from bonafide.project.signals import end_on_signals
from bonafide.tracking.stage_run import stage_run

WRITER_LOCK = Path(".bonafide/writer.lock")  # the workspace's, not the root's: temporary experiments run side by side
WRITER_SECONDS = 30  # an orphan of a killed `dvc repro` gets SIGTERM and needs a moment to end


def run_stage(stage: Callable[[Params], Metrics], guard: Callable[[], None] = die_with_parent) -> None:
    """Run one stage: read params, track it, write `reports/<stage>.json`; exit with one line an error of the user's.

    `guard` ends the process with its parent. Of several processes only rank 0 speaks, tracks and writes.
    """
    unwatch()
    gc.freeze()
    gc.enable()
    name = stage.__name__
    end_on_signals()
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
