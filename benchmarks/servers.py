"""The servers that benchmarks.serving holds against each other, and a client of them."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bonafide.registry import mlflow_package
from bonafide.registry.server import SETTINGS

Answer = list[list[float]]
ROOT = Path(__file__).parents[1]
PACKAGE = "BENCHMARK_PACKAGE"
APPS = {
    "service": ["mlflow.pyfunc.scoring_server.app:app"],
    "alone": ["--factory", "benchmarks.servers:alone"],
    "pipeline": ["--factory", "benchmarks.servers:pipeline"],
}


def alone() -> Any:
    """MLflow's server on the package, each request in a pass of its own."""
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server

    model = mlflow.pyfunc.load_model(os.environ[PACKAGE])
    service = model.unwrap_python_model()
    predict, thread = service.predictor.predict, service.batcher.thread

    def alone(rows: Any) -> Any:
        return thread.submit(predict, rows).result()

    service.batcher = alone
    return scoring_server.init(model)


def pipeline() -> Any:
    """A tutorial's: `pipeline("text-classification")` in a function that FastAPI runs in its threads."""
    from fastapi import FastAPI
    from pydantic import BaseModel
    from transformers import pipeline as build

    class Request(BaseModel):
        texts: list[str]

    folder = Path(os.environ[PACKAGE])
    longest = int(os.environ["BENCHMARK_MAX_LENGTH"])
    classify = build("text-classification", model=str(folder / mlflow_package.MODEL_PART), top_k=None)
    app = FastAPI()

    def predict(request: Request) -> Any:
        return classify(request.texts, truncation=True, max_length=longest)

    app.post("/invocations")(predict)
    app.get("/ping")(lambda: "ok")
    return app


def to_body(arm: str, texts: Sequence[str]) -> str:
    """A request."""
    return json.dumps(
        {"texts": texts}
        if arm == "pipeline"
        else {"dataframe_split": {"columns": ["text"], "data": [[t] for t in texts]}}
    )


def to_probabilities(arm: str, answer: Any, labels: Sequence[str]) -> Answer:
    """An answer as rows of class probabilities."""
    rows = (
        [{entry["label"]: entry["score"] for entry in row} for row in answer]
        if arm == "pipeline"
        else [row["probabilities"] for row in answer["predictions"]]
    )
    return [[row[label] for label in labels] for row in rows]


class Server(NamedTuple):
    """Where an arm answers, and the process that does."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Of all its threads so far."""
        used = self.process.cpu_times()
        return float(used.user + used.system)


class Client:
    """One connection that is kept."""

    def __init__(self, arm: str, port: int) -> None:
        """Connect at the first request."""
        self.arm, self.connection = arm, http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def ask(self, texts: Sequence[str]) -> Any:
        """The answer to one request; raise RuntimeError unless it is 200."""
        self.connection.request("POST", "/invocations", to_body(self.arm, texts), {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self.arm}: {answer.status}: {content[:500]!r}")
        return json.loads(content)


@contextmanager
def serving(arm: str, package: Path, max_length: int) -> Iterator[Server]:
    """An arm's server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {PACKAGE: str(package), "__pyfunc_model_path__": str(package), "BENCHMARK_MAX_LENGTH": str(max_length)}
    command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), *APPS[arm]]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, env=os.environ | SETTINGS | settings, cwd=ROOT, stdout=log, stderr=log)
        try:
            while not answers(port):
                if server.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"{arm}: {log.read().decode()[-2000:]}")
                time.sleep(0.2)
            yield Server(port, psutil.Process(server.pid))
        finally:
            server.terminate()
            server.wait()


def answers(port: int) -> bool:
    """Whether a server is up."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
