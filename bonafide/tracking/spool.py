"""Records that MLflow has not had yet, one JSON file each; they leave when they have arrived."""

import os
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from bonafide.project.console import say
from bonafide.project.files import read_json, write_json
from bonafide.project.folders import state
from bonafide.project.process import process_id
from bonafide.tracking.record import PROCESS, Record

UNAUTHENTICATED = "failed with error code 401"  # in words alone, as MLflow's client tells it


def folder() -> Path:
    """Where records wait; temporary experiments share it with their repository."""
    return state() / "undelivered"


def waiting() -> list[Path]:
    """The records that wait, oldest first."""
    return sorted(folder().glob("*.json"))


def keep(record: Record) -> None:
    """Keep a record until MLflow answers."""
    write_json(folder() / f"{record.started}-{record.stage}-{os.getpid()}.json", asdict(record))


def replay(timeout: float) -> int:
    """Deliver the waiting records, oldest first, and return how many have arrived; one process at a time does so.

    Raise Timeout where another process holds the lock for longer, and what MLflow raises where it does not answer.
    """
    if not waiting():
        return 0
    with FileLock(state() / "replay.lock", timeout=timeout):
        return sum(_deliver(path) for path in waiting())


def _deliver(path: Path) -> bool:
    """Deliver one record; one that is refused, not missed, is named and stays, and the next has its turn."""
    from mlflow.exceptions import MlflowException

    from bonafide.tracking.delivery import Delivery

    try:
        record = Record(**read_json(path))
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
