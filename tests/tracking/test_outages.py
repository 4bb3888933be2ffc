"""A server that dies, hangs or fails in mid-training costs a warning and seconds; what it missed arrives once."""

import os
import signal
import time
from contextlib import contextmanager

import pytest
from mlflow import MlflowClient

from bonafide.project.process import process_id
from bonafide.provenance.backfill import synchronize
from bonafide.tracking import spool, tracker
from bonafide.tracking.record import Record, now
from bonafide.tracking.stage_run import StageRun
from bonafide.tracking.tracker import Tracker
from tests.stores import front, mlflow_server

pytestmark = pytest.mark.slow

STEPS = 40
BREAKS_AT, RETURNS_AT = 15, 25


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server):
    with front(server.uri) as standing:
        yield standing


@pytest.fixture
def patience(monkeypatch):
    """As bonafide.project.environment sets it; what a stage changes of it ends with the test."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setattr(tracker, "FLUSH_SECONDS", 0.1)


@contextmanager
def killed(server, _proxy):
    server.signal(signal.SIGKILL)
    yield
    server.start()


@contextmanager
def hanging(server, _proxy):
    server.signal(signal.SIGSTOP)
    yield
    server.signal(signal.SIGCONT)


@contextmanager
def failing(_server, proxy):
    proxy.fails = True
    yield
    proxy.fails = False


def train(name: str, breaks, returns_at: int | None) -> tuple[Record, float]:
    """A training of 40 points with an outage in it; return its record and what it took beyond its own work."""
    tags = {"bonafide.process": process_id(os.getpid())}
    record = Record("outages", "train", {"train": f"k-{name}"}, f"p-{name}", name, {"seed": "1"}, tags, now())
    run = StageRun(record, Tracker)
    run.start()
    waited, outage = 0.0, None
    for step in range(STEPS):
        if step == BREAKS_AT:
            outage = breaks.__enter__()
        if step == returns_at:
            breaks.__exit__(None, None, None)
        began = time.monotonic()
        run.log({"train/train_loss": 1 / (step + 1)}, step)
        waited += time.monotonic() - began
        time.sleep(0.05)
    began = time.monotonic()
    run.end("FAILED", {"train/steps": float(STEPS)})
    waited += time.monotonic() - began
    if returns_at is None:
        breaks.__exit__(None, None, None)
    assert outage is None
    return record, waited


def told(uri: str, name: str):
    """All that is told of a training: per run its facts and its curve with times."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("outages").experiment_id
    found = client.search_runs([experiment], f"tags.`bonafide.pipeline_key` = 'p-{name}'")
    found += client.search_runs([experiment], f"tags.`bonafide.stage_key` = 'k-{name}'")
    return [
        (run.to_dictionary(), [(p.key, p.value, p.timestamp, p.step) for p in history(client, run)]) for run in found
    ]


def history(client, run):
    return sorted(client.get_metric_history(run.info.run_id, "train/train_loss"), key=lambda point: point.step)


@pytest.mark.parametrize("outage", [killed, hanging, failing])
def test_a_training_outlives_its_server_and_sync_brings_what_was_missed(server, proxy, monkeypatch, patience, outage):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri if outage is failing else server.uri)
    name = outage.__name__
    record, waited = train(name, outage(server, proxy), None)
    assert waited < 15
    assert len(spool.waiting()) == 1
    assert synchronize([]).delivered == 1
    first = told(server.uri, name)
    assert [points for _run, points in first] == [record.points] * 2
    assert {run["info"]["status"] for run, _points in first} == {"FAILED"}
    assert synchronize([]).delivered == 0
    assert told(server.uri, name) == first


@pytest.mark.parametrize("outage", [killed, hanging, failing])
def test_a_server_that_comes_back_has_all_of_it_at_the_stage_s_end(server, proxy, monkeypatch, patience, outage):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri if outage is failing else server.uri)
    name = f"{outage.__name__}-returns"
    record, waited = train(name, outage(server, proxy), RETURNS_AT)
    assert waited < 15
    assert not spool.waiting()
    assert [points for _run, points in told(server.uri, name)] == [record.points] * 2
