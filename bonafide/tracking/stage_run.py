"""A stage's run as MLflow will show it: the record that is kept while the stage works, and who delivers it."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bonafide.params.sections import Params
from bonafide.project import dvc_lock
from bonafide.project.environment import fingerprint, git_state
from bonafide.project.files import md5
from bonafide.project.paths import PARAMS
from bonafide.project.yaml_files import read_yaml
from bonafide.tracking.agent_client import AgentClient
from bonafide.tracking.origin import committed_params, flat_params, run_name, source_tags
from bonafide.tracking.record import Point, Record, complete, now

_active: "StageRun | None" = None


class Deliverer(Protocol):
    """Who brings a record to MLflow, or spools it: Tracker here, or AgentClient, which has one in a process."""

    def start(self) -> None:
        """Announce the stage."""

    def log(self, points: Sequence[Point]) -> None:
        """Pass points of curves on."""

    def finish(self, record: Record) -> None:
        """Pass the ended stage's whole record on."""


class StageRun:
    """The running stage's record, passed on as it grows."""

    def __init__(self, record: Record, deliverer: Callable[[Record], Deliverer] = AgentClient) -> None:
        """Nothing is told before `start`."""
        self.record = record
        self.deliverer = deliverer(record)

    def start(self) -> None:
        """Announce the stage."""
        self.deliverer.start()

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Add a point to curves."""
        points = [(key, float(value), now(), step) for key, value in metrics.items()]
        self.record.points += points
        self.deliverer.log(points)

    def end(self, status: str, metrics: dict[str, float]) -> None:
        """Complete the record and pass it on."""
        self.record.status, self.record.ended, self.record.metrics = status, now(), metrics
        if status == "FINISHED":
            complete(self.record)
        self.deliverer.finish(self.record)


def log_metrics(metrics: dict[str, float], step: int) -> None:
    """Add a point to curves of the running stage; nothing happens outside a stage."""
    if _active is not None:
        _active.log(metrics, step)


def attach(path: Path) -> None:
    """Attach a file, which is to stay where it is, to the running stage's own run; nothing happens outside a stage."""
    if _active is not None:
        _active.record.attachments[str(path.resolve())] = md5(path)


def new_record(params: Params, stage: str) -> Record:
    """Everything about the run that is known before the stage starts."""
    raw = read_yaml(PARAMS)
    flat, head, experiment = flat_params(raw), git_state(), os.environ.get("DVC_EXP_NAME", "")
    is_dirty = head["dirty"] == "true"
    base = experiment or (head["commit"][:7] or "uncommitted") + ("+" if is_dirty else "")
    environment = fingerprint(params.threads)
    tags = source_tags(head["commit"], dirty=is_dirty, experiment=experiment) | {
        "environment": environment.pop("hash"),
        "environment.facts": ", ".join(f"{name} {value}" for name, value in environment.items()),
    }
    name = run_name(base, flat, committed_params(), head["subject"])
    keys, pipeline = dvc_lock.stage_keys(raw, stage), dvc_lock.pipeline_key(raw, stage)
    return Record(params.tracking.experiment, stage, keys, pipeline, name, flat, tags, started=now())


@contextmanager
def stage_run(params: Params, stage: str) -> Iterator[Callable[[dict[str, float]], None]]:
    """Track the body as one run; what is yielded takes its metrics. An exception ends the run FAILED or KILLED."""
    global _active  # noqa: PLW0603 - one stage a process
    metrics: dict[str, float] = {}
    status = "FAILED"
    run = _active = StageRun(new_record(params, stage))
    try:
        run.start()  # within the try: a signal while it is announced ends it as KILLED, too
        yield metrics.update
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        signal.alarm(0)  # ended already: bonafide.stage is not to raise again while the run is told so
        status = "KILLED"
        raise
    finally:
        _active = None
        run.end(status, metrics)
