"""The process that has MLflow imported: it delivers for the stages of one `dvc repro`, one after the other.

MLflow's client takes 2 s of CPU to import, and most stages of a small job take less. So the first stage starts this
process (`bonafide.tracking.agent_client`), DVC's next ones find it, and it ends with the process that runs them.
A request is a line of JSON, [method of Tracker, its argument]; the answer is a line, too: what there is to say.
"""

import json
import os
import select
import socket
import sys
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import psutil

from bonafide.project.process import importing
from bonafide.tracking.record import Record

with importing():
    from bonafide.tracking.tracker import IMPATIENT, Tracker

IDLE_SECONDS = 10.0  # without a stage: DVC may be at work on large outs between two
POLL_SECONDS = 0.2


def main() -> None:
    """Serve the listening socket with the number argv[1] until the process argv[2] has ended; argv[3] is its path."""
    listener, owner, path = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3])
    while is_called(listener, owner) or last_call(listener, path):
        with listener.accept()[0] as connection:
            serve(connection)


def is_called(listener: socket.socket, owner: int) -> bool:
    """Wait for a stage; False once there will be none."""
    deadline = time.monotonic() + IDLE_SECONDS
    while time.monotonic() < deadline and psutil.pid_exists(owner):
        if select.select([listener], [], [], POLL_SECONDS)[0]:
            return True
    return False


def last_call(listener: socket.socket, path: Path) -> bool:
    """Be found by no further stage; whether one has called meanwhile."""
    path.unlink(missing_ok=True)
    return bool(select.select([listener], [], [], 0)[0])


def serve(connection: socket.socket) -> None:
    """Deliver one stage's record; a stage that was killed says no more, and the next delivery finds that out."""
    patience = {name: os.environ[name] for name in IMPATIENT if name in os.environ}
    tracker: Tracker | None = None
    with connection.makefile("rb") as requests:
        for request in requests:
            method, content = json.loads(request)
            with redirect_stderr(StringIO()) as said:
                tracker = act(tracker, method, content)
            connection.sendall(json.dumps(said.getvalue()).encode() + b"\n")
    os.environ.update(patience)


def act(tracker: Tracker | None, method: str, content: Any) -> Tracker:
    """Carry out one request."""
    if tracker is None:
        tracker = Tracker(Record(**content))
    if method == "start":
        tracker.start()
    elif method == "log":
        tracker.log([(key, value, when, step) for key, value, when, step in content])
    else:
        tracker.finish(Record(**content))
    return tracker


if __name__ == "__main__":
    main()
