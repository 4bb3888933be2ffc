"""What a stage tells MLflow: a record kept here, sent there when it answers, and spooled for the next stage when not.

Local files are the truth and MLflow is a sink, so no stage waits for a server or fails with it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from ruamel.yaml import YAML
from sqlalchemy.exc import SQLAlchemyError

from bonafide import lineage
from bonafide.delivery import Delivery
from bonafide.environment import fingerprint, flatten, git_state, process_id
from bonafide.files import md5, write_json
from bonafide.params import Params, read_yaml
from bonafide.paths import MODEL, PARAMS, RAW_TABLE, REPORTS
from bonafide.runs import Record, redacted, state, tracking_uri

FLUSH_SECONDS = 10.0
OUTAGE = (MlflowException, SQLAlchemyError, OSError)  # requests' and filelock's errors are OSErrors
MAX_PARAM = 6000  # characters; MLflow refuses more

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
        self.answers = True
        self.flushed = time.monotonic()

    def start(self) -> None:
        """Deliver what earlier stages could not, then announce this one."""
        self._attempt(self._start)

    def _start(self) -> None:
        replay()
        self.delivery = Delivery(self.record)

    def _finish(self) -> None:
        (self.delivery or Delivery(self.record)).finish()

    def _attempt(self, act: Any) -> None:
        try:
            act()
        except OUTAGE as error:
            self.delivery, self.answers = None, False
            where = redacted(tracking_uri())
            print(
                f"warning: MLflow at {where} does not answer ({type(error).__name__}); kept for later", file=sys.stderr
            )

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record points and send them in batches: one `log_metric` costs 6 to 20 ms on sqlite."""
        when = now()
        self.record.points += [(key, float(value), when, step) for key, value in metrics.items()]
        if self.delivery and time.monotonic() - self.flushed > FLUSH_SECONDS:
            self._attempt(self.delivery.send_points)
            self.flushed = time.monotonic()

    def end(self, status: str, metrics: dict[str, float]) -> None:
        """Send the rest, or leave the whole record to the next stage."""
        self.record.status, self.record.ended, self.record.metrics = status, now(), metrics
        if status == "FINISHED":
            complete(self.record)
        if self.answers:
            self._attempt(self._finish)
        if not self.answers:
            write_json(spool() / f"{self.record.started}-{self.record.stage}.json", asdict(self.record))


def spool() -> Path:
    """Where records wait that MLflow has not had yet."""
    return state() / "undelivered"


def replay() -> None:
    """Deliver the spooled records, oldest first; a record leaves the spool only when it has arrived."""
    for path in sorted(spool().glob("*.json")):
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
        record.points = [(key, value, when, step) for key, value, when, step in record.points]
        delivery = Delivery(record)
        delivery.finish()
        path.unlink()


def changed_params(params: dict[str, str]) -> list[str]:
    """`key=value` of what differs from the committed params.yaml, for the run's name."""
    shown = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, text=True, check=False)  # noqa: S607
    committed = flatten(YAML(typ="safe", pure=True).load(shown.stdout)) if shown.returncode == 0 else params
    return [f"{key.rpartition('.')[2]}={value}" for key, value in params.items() if committed.get(key) != value]


def run_name(params: dict[str, str], git: dict[str, str]) -> str:
    """The experiment's name or the short commit, and what was changed since."""
    base = os.environ.get("DVC_EXP_NAME") or git["commit"][:7] or "uncommitted"
    dirty = "+" if git["dirty"] == "true" else ""
    return " ".join([base + dirty, *changed_params(params)[:3]])[:120]


def new_record(params: Params, stage: str) -> Record:
    """Everything about the run that is known before the stage starts."""
    raw = read_yaml(PARAMS)
    flat = {key: value[:MAX_PARAM] for key, value in flatten(raw).items()}
    git = git_state()
    environment = fingerprint(params.threads)
    tags = {
        "git.commit": git["commit"] or "none",
        "git.dirty": git["dirty"],
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", "none"),
        "bonafide.process": process_id(os.getpid()),
        "environment": environment.pop("hash"),
        "environment.facts": ", ".join(f"{name} {value}" for name, value in environment.items()),
    }
    keys = lineage.stage_keys(raw, stage)
    pipeline = lineage.pipeline_key(raw, stage)
    return Record(params.tracking.experiment, stage, keys, pipeline, run_name(flat, git), flat, tags, started=now())


def complete(record: Record) -> None:
    """Add what the finished stages left in files: headline metrics, references, pages."""
    for path in sorted(REPORTS.glob("*.json")):
        record.headline |= json.loads(path.read_text(encoding="utf-8"))
    if record.stage == "report":
        pages = [REPORTS / "index.html", REPORTS / "report.md", REPORTS / "model_card.md"]
        record.artifacts = {str(path): md5(path) for path in pages}
    if record.stage in {"validate", "train", "evaluate"} and RAW_TABLE.exists():
        record.inputs = {str(RAW_TABLE): md5(RAW_TABLE)}
    if record.stage == "train":
        weights = MODEL / "model.safetensors"
        record.model = {
            "dvc.path": str(MODEL),
            "dvc.md5": md5(MODEL),
            "model.md5": md5(weights),
            "fetch": f"dvc checkout {MODEL}",
        }


@contextmanager
def stage_run(params: Params, stage: str) -> Iterator[dict[str, float]]:
    """Track the body as one run; it fills the yielded metrics. An exception ends the run FAILED or KILLED."""
    global _active  # noqa: PLW0603 - one stage a process
    metrics: dict[str, float] = {}
    status = "FAILED"
    tracker = _active = Tracker(new_record(params, stage))
    try:
        tracker.start()  # within the try: a signal while it is announced ends it as KILLED, too
        yield metrics
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        signal.alarm(0)  # ended already: bonafide.stage is not to raise again while the run is told so
        status = "KILLED"
        raise
    finally:
        _active = None
        tracker.end(status, metrics)
