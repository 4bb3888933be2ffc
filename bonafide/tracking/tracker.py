"""One stage's record on its way to MLflow while the stage runs: sent when MLflow answers, spooled when it does not.

Local files are the truth and MLflow is a sink, so no stage waits long for a server or fails with it.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from filelock import Timeout

from bonafide.project.console import say
from bonafide.tracking import spool
from bonafide.tracking.delivery import Delivery
from bonafide.tracking.record import Point, Record
from bonafide.tracking.refusal import UNTOLD, why
from bonafide.tracking.store import tracking_uri

FLUSH_SECONDS = 10.0
MIDWAY_SECONDS, LAST_SECONDS = 9.0, 12.5  # what an absent MLflow may have cost a stage that asks it again
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "2"}  # once it has not answered


class Tracker:
    """A running stage's record and, while MLflow answers, its delivery."""

    def __init__(self, record: Record) -> None:
        """Nothing is sent before `start`."""
        self.record = replace(record)
        self.delivery: Delivery | None = None
        self.wasted = 0.0
        self.missed = False
        self.flushed = time.monotonic()

    def start(self) -> None:
        """Deliver what earlier stages could not, then announce this one."""
        self._attempt(self._start)

    def log(self, points: Sequence[Point]) -> None:
        """Send points of curves in batches: one `log_metric` costs 6 to 20 ms on sqlite."""
        self.record.points += points
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self._attempt(self._flush)
            self.flushed = time.monotonic()

    def finish(self, record: Record) -> None:
        """Send the rest of the ended stage's whole record, or leave all of it to the next stage."""
        self.record = record
        if not self._attempt(self._finish, LAST_SECONDS):
            spool.keep(record)

    def _start(self) -> bool:
        with suppress(Timeout):  # another stage or `bonafide sync` is at it
            spool.replay(timeout=0)
        self.delivery = Delivery(self.record)
        return True

    def _flush(self) -> bool:
        self.delivery = self.delivery or Delivery(self.record)
        self.delivery.send_points()
        return True

    def _finish(self) -> bool:
        self.delivery = self.delivery or Delivery(self.record)
        self.delivery.record = self.record
        return self.delivery.finish()

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
