"""What a stage tells MLflow: a record kept here, sent there when it answers, and spooled for the next stage when not.

Local files are the truth and MLflow is a sink, so no stage waits for a server or fails with it.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from bonafide.params.sections import Params
from bonafide.project import dvc_lock
from bonafide.project.console import say
from bonafide.project.environment import fingerprint, git_state, process_id
from bonafide.project.files import md5, read_json, write_json
from bonafide.project.folders import state
from bonafide.project.paths import MODEL, PARAMS, RAW, REPORTS
from bonafide.project.yaml_files import read_yaml
from bonafide.tracking.delivery import Delivery
from bonafide.tracking.origin import committed_params, flat_params, run_name, source_tags
from bonafide.tracking.refusal import UNTOLD, why
from bonafide.tracking.store import PROCESS, Record, tracking_uri

FLUSH_SECONDS = 10.0
MIDWAY_SECONDS, LAST_SECONDS = 9.0, 12.5  # what an absent MLflow may have cost a stage that asks it again
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}  # once it has not answered
WEIGHTS = MODEL / "model.safetensors"
PAGES = {"report": (REPORTS / "index.html", REPORTS / "report.md", REPORTS / "model_card.md")}
UNAUTHENTICATED = "failed with error code 401"  # in words alone, as MLflow's client tells it

_active: "Tracker | None" = None


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def log_metrics(metrics: dict[str, float], step: int) -> None:
    """Add a point to curves of the running stage; nothing happens outside a stage."""
    if _active is not None:
        _active.log(metrics, step)


def attach(path: Path) -> None:
    """Attach a file, which is to stay where it is, to the running stage's own run; nothing happens outside a stage."""
    if _active is not None:
        _active.record.attachments[str(path.resolve())] = md5(path)


class Tracker:
    """The running stage's record and, while MLflow answers, its delivery."""

    def __init__(self, record: Record) -> None:
        """Nothing is sent before `start`."""
        self.record = record
        self.delivery: Delivery | None = None
        self.wasted = 0.0
        self.missed = False
        self.flushed = time.monotonic()

    def start(self) -> None:
        """Deliver what earlier stages could not, then announce this one."""
        self._attempt(self._start)

    def _start(self) -> bool:
        with suppress(Timeout):  # another stage or `bonafide sync` is at it
            replay(timeout=0)
        self.delivery = Delivery(self.record)
        return True

    def _flush(self) -> bool:
        self.delivery = self.delivery or Delivery(self.record)
        self.delivery.send_points()
        return True

    def _finish(self) -> bool:
        return (self.delivery or Delivery(self.record)).finish()

    def _attempt(self, act: Callable[[], bool], patience: float = MIDWAY_SECONDS) -> bool:
        """Whether it has arrived. MLflow is asked again after an outage as long as that has not cost too much."""
        if self.wasted > patience:
            return False
        began = time.monotonic()
        try:
            return act()
        except UNTOLD as error:
            self.delivery = None
            self.wasted += time.monotonic() - began
            os.environ.update(IMPATIENT)
            self._warn(error)
        return False

    def _warn(self, error: Exception) -> None:
        if not self.missed:
            say(f"warning: {why(error, tracking_uri())}; kept for later: bonafide sync")
        self.missed = True

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record points and send them in batches: one `log_metric` costs 6 to 20 ms on sqlite."""
        when = now()
        self.record.points += [(key, float(value), when, step) for key, value in metrics.items()]
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self._attempt(self._flush)
            self.flushed = time.monotonic()

    def end(self, status: str, metrics: dict[str, float]) -> None:
        """Send the rest, or leave the whole record to the next stage."""
        self.record.status, self.record.ended, self.record.metrics = status, now(), metrics
        if status == "FINISHED":
            complete(self.record)
        if not self._attempt(self._finish, LAST_SECONDS):
            name = f"{self.record.started}-{self.record.stage}-{os.getpid()}.json"  # experiments share the spool
            write_json(spool() / name, asdict(self.record))


def spool() -> Path:
    """Where records wait that MLflow has not had yet."""
    return state() / "undelivered"


def replay(timeout: float) -> int:
    """Deliver the spooled records, oldest first, and return how many have arrived; one process at a time does so.

    A record leaves the spool only when it has arrived. Raise Timeout where another process holds the lock for longer.
    """
    if not any(spool().glob("*.json")):
        return 0
    with FileLock(state() / "replay.lock", timeout=timeout):
        return sum(_deliver(path) for path in sorted(spool().glob("*.json")))


def _deliver(path: Path) -> bool:
    """Deliver one spooled record; one that is refused, not missed, is named and stays, and the next has its turn."""
    try:
        record = Record(**read_json(path))
        record.points = [(key, value, when, step) for key, value, when, step in record.points]
        record.tags[PROCESS] = process_id(os.getpid())
        arrived = Delivery(record).finish()
    except (ValueError, TypeError) as error:
        say(f"warning: {path}: {error}")
        return False
    except MlflowException as error:
        if error.get_http_status_code() >= 500 or UNAUTHENTICATED in str(error):  # type: ignore[no-untyped-call]
            raise
        say(f"warning: {path}: MLflow refuses it: {error.message}")
        return False
    if arrived:
        path.unlink()
    return arrived


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


def complete(record: Record) -> None:
    """Add what the finished stages left in files: headline metrics, references, pages."""
    for path in (REPORTS / f"{stage}.json" for stage in record.keys):  # a later stage's can be another pipeline's
        record.headline |= read_json(path) if path.exists() else {}
    made = dvc_lock.locked_outs(dvc_lock.read_lock())
    if record.stage == "train":
        made[str(MODEL)] = md5(MODEL)
        record.model["model.md5"] = md5(WEIGHTS)
    refer(record, made)
    record.artifacts = {str(path): md5(path) for path in PAGES.get(record.stage, ())}


def refer(record: Record, made: dict[str, str]) -> None:
    """Say which data set the stage reads and which model it has made; `made`: MD5s of outs as dvc.lock has them."""
    if record.stage in {"validate", "train", "evaluate"} and str(RAW) in made:
        record.inputs = {str(RAW): made[str(RAW)]}
    if record.stage == "train":
        record.model |= {"dvc.path": str(MODEL), "dvc.md5": made[str(MODEL)], "fetch": f"dvc checkout {MODEL}"}


@contextmanager
def stage_run(params: Params, stage: str) -> Iterator[Callable[[dict[str, float]], None]]:
    """Track the body as one run; it tells its metrics to what is yielded. An exception ends the run FAILED or KILLED."""
    global _active  # noqa: PLW0603 - one stage a process
    metrics: dict[str, float] = {}
    status = "FAILED"
    tracker = _active = Tracker(new_record(params, stage))
    try:
        tracker.start()  # within the try: a signal while it is announced ends it as KILLED, too
        yield metrics.update
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        signal.alarm(0)  # ended already: bonafide.stage is not to raise again while the run is told so
        status = "KILLED"
        raise
    finally:
        _active = None
        tracker.end(status, metrics)
