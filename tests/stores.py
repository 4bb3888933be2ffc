"""Real tracking stores: a PostgreSQL and an `mlflow server` of the test's own, on loopback."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

DEBIAN = Path("/usr/lib/postgresql")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition, seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.1)


def binary(name: str) -> str:
    """A program of PostgreSQL's; Debian keeps them off the PATH."""
    found = shutil.which(name) or next(map(str, sorted(DEBIAN.glob(f"*/bin/{name}"), reverse=True)), None)
    assert found, f"{name}: apt-get install postgresql"
    return found


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A fresh PostgreSQL; yields its URI. It refuses to run as root, whose temporary folders nobody else may enter."""
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="bonafide-postgres-"))
    user = {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, **user)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **user}
    data = folder / "data"
    subprocess.run([binary("initdb"), "-A", "trust", "-U", "test", "--no-sync", "-D", data], check=True, **quiet)
    options = ["-D", data, "-k", folder, "-p", str(port), "-c", "fsync=off"]
    server = subprocess.Popen([binary("postgres"), *options], **quiet)
    try:
        wait_for((folder / f".s.PGSQL.{port}").exists)
        ready = [binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0)
        yield f"postgresql://test@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # ends without waiting for clients
        server.wait()
        shutil.rmtree(folder)


class Server:
    """An `mlflow server` that can be killed, and started again where it was."""

    def __init__(self, folder: Path, backend: str = "") -> None:
        self.folder, self.port = folder, free_port()
        self.backend = backend or f"sqlite:///{folder / 'server.db'}"
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        env.pop("MLFLOW_TRACKING_URI", None)
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.backend]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.uri}/health", timeout=1).status_code == 200
        return False

    def signal(self, number: signal.Signals) -> None:
        """To all of its processes."""
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()


@contextlib.contextmanager
def mlflow_server(folder: Path, backend: str = "") -> Iterator[Server]:
    server = Server(folder, backend)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.signal(signal.SIGKILL)


class _Answer(BaseHTTPRequestHandler):
    status, body = 200, b""

    def _answer(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server, or a proxy before one, that says the same to everything; yields its URI."""
    handler = type("Answer", (_Answer,), {"status": status, "body": body})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Front(ThreadingHTTPServer):
    """A proxy before a server that, while it `fails`, answers 500 to everything."""

    def __init__(self, behind: str) -> None:
        self.behind, self.fails = behind, False
        super().__init__(("127.0.0.1", 0), _Forward)
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"


class _Forward(BaseHTTPRequestHandler):
    server: Front

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.fails:
            status, content = 500, b'{"error_code": "INTERNAL_ERROR", "message": "out of order"}'
        else:
            headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            found = requests.request(
                self.command, self.server.behind + self.path, data=body, headers=headers, timeout=30
            )
            status, content = found.status_code, found.content
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def front(behind: str) -> Iterator[Front]:
    with Front(behind) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()
