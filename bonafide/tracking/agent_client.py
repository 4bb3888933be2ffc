"""The stage's end of `bonafide.tracking.agent`: Tracker's three methods, without MLflow and without waiting for it."""

import json
import os
import select
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from bonafide.project.console import say
from bonafide.tracking import spool
from bonafide.tracking.record import Point, Record

FOLDER = Path(".bonafide")  # relative: a socket's path has at most 107 bytes
LOG = FOLDER / "tracking.log"


class AgentClient:
    """A connection to the process that delivers; it may break at any time, and the record is kept then."""

    def __init__(self, record: Record) -> None:
        """Nothing is sent before `start`."""
        self.record = record
        self.connection: socket.socket | None = None
        self.answers: BinaryIO = BytesIO()
        self.unanswered = 0

    def start(self) -> None:
        """Have the stage announced; whatever this takes, the stage goes on meanwhile."""
        with suppress(OSError):
            self.connection = connect()
            self.answers = self.connection.makefile("rb")
        self._ask("start", asdict(self.record))

    def log(self, points: Sequence[Point]) -> None:
        """Pass points on, unless the agent is so far behind that this would wait: `finish` passes all."""
        if self.connection and select.select([], [self.connection], [], 0)[1]:
            self._ask("log", points)
        while self.connection and self.unanswered and select.select([self.connection], [], [], 0)[0]:
            self._hear()

    def finish(self, record: Record) -> None:
        """Have the ended stage's whole record delivered or spooled, and wait for that."""
        self._ask("finish", asdict(record))
        while self.connection and self.unanswered:
            self._hear()
        if self.connection is None:
            say(f"warning: what tells MLflow has ended early, see {LOG}; kept for later: bonafide sync")
            spool.keep(record)
        self._close()

    def _ask(self, method: str, content: Any) -> None:
        if self.connection:
            try:
                self.connection.sendall(json.dumps([method, content]).encode() + b"\n")
                self.unanswered += 1
            except OSError:
                self._close()

    def _hear(self) -> None:
        """Take an answer, and say what it says."""
        answer = b""
        with suppress(OSError):
            answer = self.answers.readline()
        if answer:
            self.unanswered -= 1
            print(json.loads(answer), end="", file=sys.stderr, flush=True)
        else:
            self._close()

    def _close(self) -> None:
        if self.connection:
            self.connection.close()
            self.answers.close()
        self.connection = None


def connect() -> socket.socket:
    """Connect to the agent of the `dvc` that runs this stage, or start it; without DVC, one for this process alone."""
    owner = os.getppid() if "DVC_STAGE" in os.environ else os.getpid()
    path = FOLDER / f"tracking.{owner}"
    with suppress(OSError):
        return _dial(path)
    FOLDER.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.set_inheritable(True)
        command = [sys.executable, "-m", "bonafide.tracking.agent", str(listener.fileno()), str(owner), str(path)]
        streams = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(LOG), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),  # what waits for the end of a stage's output does not wait for the agent
        ]
        # in a session of its own: a terminal's Ctrl-C is for the stage, which has something to tell then
        os.posix_spawn(sys.executable, command, os.environ, file_actions=streams, setsid=True)
        return _dial(path)


def _dial(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection
