"""Many DVC experiments side by side, each in a clone of its own; what it finds comes back as a ref of this repository.

`dvc exp run --temp` stashes and resets the folder in which it is started, and takes the first experiment that waits
there, be it another's. In a clone for each, nobody's work is in its way, and the user may go on with theirs.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from bonafide.project import git
from bonafide.project.folders import dvc_root, root, state
from bonafide.project.process import with_pdeathsig
from bonafide.provenance import clone
from bonafide.sweeps.devices import Lease, need, take
from bonafide.sweeps.grid import Trial
from bonafide.tracking.store import tracking_uri

WAIT = 0.5  # seconds between looks
GRACE = ((signal.SIGINT, 30), (signal.SIGTERM, 10), (signal.SIGKILL, 10))  # seconds for a checkpoint, then harder


@dataclass(frozen=True)
class Running:
    """An experiment under way."""

    trial: Trial
    lease: Lease
    process: subprocess.Popen[bytes]
    started: float

    def end(self) -> None:
        """Give back what it held."""
        self.lease.end()
        shutil.rmtree(_folder(self.trial), ignore_errors=True)


@dataclass(frozen=True)
class Event:
    """What happened to a trial: `started`, `finished` or `failed`."""

    kind: str
    trial: Trial
    devices: tuple[str, ...]
    seconds: float


def finished() -> dict[str, str]:
    """The experiments of this repository: name to commit."""
    shown = git.run("for-each-ref", "--format=%(refname:lstrip=-1) %(objectname)", "refs/exps").splitlines()
    return dict(line.split() for line in shown)


def log_of(trial: Trial) -> Path:
    """Where everything is that its experiment printed."""
    return state() / "sweeps" / f"{trial.name}.log"


def _folder(trial: Trial) -> Path:
    return state() / "sweeps" / trial.name


def run_all(trials: Sequence[Trial], commit: str, devices: Sequence[str], jobs: int) -> Generator[Event]:
    """Run what is not finished, at most `jobs` at once, each on devices of its own; end them all if interrupted."""
    waiting, running = list(trials), list[Running]()
    try:
        while waiting or running:
            if len(running) < jobs:
                known = finished()  # also by another sweep that runs beside this one
                waiting = [trial for trial in waiting if trial.name not in known]
            for trial in waiting[:]:
                lease = take(devices, need(trial.threads, trial.processes, devices)) if len(running) < jobs else None
                if lease is None:
                    break
                if begun := _begin(trial, commit, lease):
                    waiting.remove(trial)
                    running.append(begun)
                    yield Event("started", trial, lease.devices, 0.0)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                yield _end(one, commit)
            time.sleep(WAIT if waiting or running else 0)
    finally:
        _stop(running)


def _begin(trial: Trial, commit: str, lease: Lease) -> Running | None:
    """Start it on these devices, or give them back where another sweep runs the same trial."""
    log_of(trial).parent.mkdir(parents=True, exist_ok=True)
    own = FileLock(log_of(trial).with_suffix(".lock"), timeout=0)
    try:
        own.acquire()
    except Timeout:
        lease.end()
        return None
    held = Lease(lease.devices, (*lease.locks, own))
    folder = _clone(trial, commit)
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", trial.name]
    command += [word for text in trial.settings for word in ("--set-param", text)]
    with log_of(trial).open("wb") as log, held.confine():
        process = subprocess.Popen(
            with_pdeathsig(command),
            cwd=folder,
            env=_environment(held),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for the sweep, which then ends its experiments in order
        )
    return Running(trial, held, process, time.monotonic())


def _environment(lease: Lease) -> dict[str, str]:
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # `python` of the stages
    own = {"PATH": paths, "MLFLOW_TRACKING_URI": tracking_uri(), "DVC_STUDIO_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}
    return {**os.environ, **own, **lease.environment()}


def _clone(trial: Trial, commit: str) -> Path:
    """A clone of the commit, with this repository's cache, settings and state; return the folder to work in."""
    folder = _folder(trial)
    shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
    project = clone.clone(folder)
    git.run("checkout", "--quiet", "--detach", commit, folder=folder)
    with (folder / ".git" / "info" / "exclude").open("a") as file:
        file.write("\n.bonafide\n")
    (project / state().name).symlink_to(state())
    settings = dvc_root(root()) / ".dvc" / "config.local"
    if settings.exists():
        shutil.copy2(settings, clone.dvc_folder(folder) / "config.local")
    _dvc(project, "cache", "dir", "--local", _cache())
    return project


def _end(one: Running, commit: str) -> Event:
    """Fetch what a process that has ended left."""
    seconds = time.monotonic() - one.started
    ref = f"refs/exps/{commit[:2]}/{commit[2:]}/{one.trial.name}"
    if one.process.returncode == 0:
        try:
            git.run("fetch", "--quiet", "--no-write-fetch-head", str(_folder(one.trial)), f"+{ref}:{ref}")
        except OSError as error:
            with log_of(one.trial).open("a") as log:
                log.write(f"{error}\n")
    one.end()
    kind = "finished" if one.trial.name in finished() else "failed"
    return Event(kind, one.trial, one.lease.devices, seconds)


def _stop(running: Sequence[Running]) -> None:
    """End experiments with their stages: asked first, so that checkpoints are written."""
    for number, seconds in GRACE:
        left = [one.process for one in running if one.process.poll() is None]
        for process in left:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        until = time.monotonic() + seconds
        while any(process.poll() is None for process in left) and time.monotonic() < until:
            time.sleep(0.1)
    for one in running:
        one.end()


@cache
def _cache() -> str:
    return _dvc(root(), "cache", "dir").strip()


def _dvc(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"dvc {' '.join(arguments[:2])}: {(done.stderr.strip().splitlines() or ['failed'])[0]}")
    return done.stdout
