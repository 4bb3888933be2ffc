"""Runs that nobody writes any more are ended as KILLED, and no others are."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mlflow import MlflowClient

from bonafide.project.process import is_gone, process_id
from bonafide.tracking.delivery import Delivery
from bonafide.tracking.record import now
from bonafide.tracking.store import mark_killed
from tests.tracking.test_tracking import children, finish, pipelines, record, store, template, twin

__all__ = ["store", "template"]  # fixtures


def test_a_run_whose_process_is_gone_is_marked_killed(store):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = record()
    dead.tags = {"bonafide.process": process_id(child.pid)}
    Delivery(dead)
    Delivery(record("evaluate", "k2", "p2"))
    assert {r.info.status for r in children(store)} == {"RUNNING"}
    child.kill()
    child.communicate()
    Delivery(record("report", "k3", "p3"))
    by_stage = {r.data.tags["bonafide.stage"]: r.info.status for r in children(store)}
    assert by_stage == {"train": "KILLED", "evaluate": "RUNNING", "report": "RUNNING"}


@contextmanager
def another_process() -> Iterator[subprocess.Popen[bytes]]:
    """One that is alive within the block and gone after `communicate`."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        yield process


def test_a_run_that_ends_while_orphans_are_looked_for_stays_finished(store):
    with another_process() as child:
        delivery = Delivery(twin(process_id(child.pid), status="FINISHED", ended=now()))

        class Slow(MlflowClient):
            """Between its answer and what is made of it the run and its process end."""

            def search_runs(self, *arguments, **options):
                answer = super().search_runs(*arguments, **options)
                delivery.finish()
                child.communicate()
                return answer

        assert {run.info.status for run in (*pipelines(store), *children(store))} == {"RUNNING"}
        mark_killed(Slow(os.environ["MLFLOW_TRACKING_URI"]), delivery.experiment)
    assert {run.info.status for run in (*pipelines(store), *children(store))} == {"FINISHED"}


def test_a_reopened_run_is_nobody_s_orphan(store, monkeypatch):
    """Its last writer, an earlier stage, is gone; another pipeline looks for orphans after each of our requests."""
    with another_process() as child:
        finish(twin(process_id(child.pid)))
        child.communicate()
    experiment = store.get_experiment_by_name("test").experiment_id
    for name in ("update_run", "log_batch", "set_tag"):
        call = getattr(MlflowClient, name)

        def watched(self, *arguments, call=call, **options):
            call(self, *arguments, **options)
            mark_killed(store, experiment)

        monkeypatch.setattr(MlflowClient, name, watched)
    killed = []
    terminate = MlflowClient.set_terminated
    monkeypatch.setattr(MlflowClient, "set_terminated", lambda *given, **_: killed.append(given) or terminate(*given))
    Delivery(record("evaluate", "k2", keys={"train": "k1"}))
    assert killed == []
    assert [run.info.status for run in pipelines(store)] == ["RUNNING"]


def test_a_process_name_is_not_shared_by_a_later_process():
    mine = process_id(os.getpid())
    assert not is_gone(mine)
    assert is_gone(mine.rpartition(":")[0] + ":1.00")
    host, boot, pid, started = mine.rsplit(":", 3)
    assert not is_gone(f"{host}:{float(boot) - 2:.0f}:{pid}:{float(started) - 2:.2f}"), "the clock was set"
    assert is_gone(f"{host}:{boot}:{pid}:{float(started) - 2:.2f}"), "an earlier process with this number"
    assert is_gone(f"{host}:{float(boot) - 900:.0f}:{pid}:{float(started) - 900:.2f}"), "an earlier boot"
    assert not is_gone("another-host:1:1:1.00")


def test_a_killed_repetition_leaves_a_finished_stage_finished(store):
    finish(record())
    again = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    Delivery(twin(process_id(again.pid)))
    again.kill()
    again.communicate()
    Delivery(record("evaluate", "k2", "p2"))
    assert [r.info.status for r in children(store) if r.data.tags["bonafide.stage"] == "train"] == ["FINISHED"]


def test_another_host_s_run_is_given_up_after_a_day_of_silence(store):
    Delivery(twin("far-away:1:1:1.00"))
    old = replace(twin("far-away:1:1:1.00"), pipeline="p2", keys={"train": "k2"})
    silent = Delivery(old)
    for run in (silent.pipeline, silent.child):
        store.set_tag(run.info.run_id, "bonafide.seen", str(now() - 25 * 3600 * 1000))
    Delivery(record("report", "k3", "p3"))
    status = {run.data.tags["bonafide.pipeline_key"]: run.info.status for run in pipelines(store)}
    assert status == {"p1": "RUNNING", "p2": "KILLED", "p3": "RUNNING"}
    old.status, old.ended = "FINISHED", old.started + 9
    assert silent.finish() is True  # it was alive after all
