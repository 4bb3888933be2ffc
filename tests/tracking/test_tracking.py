"""MLflow as a sink: found by content, told once, never in the way. A real sqlite store in each test."""

import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bonafide.project.paths import REPORTS
from bonafide.project.process import process_id
from bonafide.tracking import origin, spool, stage_run
from bonafide.tracking.delivery import Delivery
from bonafide.tracking.record import Record, complete
from bonafide.tracking.stage_run import StageRun
from bonafide.tracking.store import connect
from bonafide.tracking.tracker import Tracker


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A store with its schema: making one takes 4 s."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        connect("test")
    return folder / "mlflow.db"


@pytest.fixture
def store(template, tmp_path):
    shutil.copy(template, tmp_path / "mlflow.db")
    return MlflowClient(os.environ["MLFLOW_TRACKING_URI"])


def record(stage: str = "train", key: str = "k1", pipeline: str = "p1", keys: dict[str, str] | None = None) -> Record:
    return Record(
        experiment="test",
        stage=stage,
        keys={**(keys or {}), stage: key},
        pipeline=pipeline,
        name="abc1234 learning_rate=1",
        params={"train.learning_rate": "1"},
        tags={"bonafide.process": process_id(os.getpid())},
        started=1_700_000_000_000,
    )


def finish(what: Record, status: str = "FINISHED", **metrics: float) -> bool:
    done = replace(what, status=status, ended=what.started + 1000, metrics=metrics, headline=metrics)
    return Delivery(done).finish()


def pipelines(store):
    experiment = store.get_experiment_by_name("test").experiment_id
    return [r for r in store.search_runs([experiment]) if "mlflow.parentRunId" not in r.data.tags]


def children(store):
    experiment = store.get_experiment_by_name("test").experiment_id
    return [r for r in store.search_runs([experiment]) if "mlflow.parentRunId" in r.data.tags]


def test_delivering_twice_changes_nothing(store):
    what = record()
    what.points = [("train/loss", 0.5, what.started + 5, 1), ("train/loss", 0.4, what.started + 9, 2)]
    finish(what, score=0.9)
    before = sqlite3.connect("mlflow.db").execute("select * from metrics order by 1, 2, 3").fetchall()
    finish(what, score=0.9)
    assert sqlite3.connect("mlflow.db").execute("select * from metrics order by 1, 2, 3").fetchall() == before
    assert len(pipelines(store)) == len(children(store)) == 1


def test_a_rerun_with_new_times_does_not_double_a_curve(store):
    first = record()
    first.points = [("train/loss", 0.5, 1, 1), ("train/loss", 0.4, 2, 2)]
    finish(first, "KILLED")
    again = record()
    again.points = [("train/loss", 0.5, 11, 1), ("train/loss", 0.4, 12, 2), ("train/loss", 0.3, 13, 3)]
    finish(again)
    (child,) = children(store)
    assert [p.step for p in store.get_metric_history(child.info.run_id, "train/loss")] == [1, 2, 3]


def test_a_cached_stage_leads_to_the_run_that_made_it(store):
    finish(record("train", "k1", "p1"))
    finish(record("evaluate", "k2", "p1", {"train": "k1"}))
    finish(record("evaluate", "k3", "p2", {"train": "k1", "fetch": "k0"}))
    old, new = sorted(pipelines(store), key=lambda r: r.data.tags["bonafide.pipeline_key"])
    train = next(r for r in children(store) if r.data.tags["bonafide.stage"] == "train")
    assert (old.data.tags["stage.train"], new.data.tags["stage.train"]) == ("executed", "cached")
    assert old.data.tags["stage.train.run"] == new.data.tags["stage.train.run"] == train.info.run_id
    assert new.data.tags["stage.fetch"] == "untracked"
    assert train.info.run_id in new.data.tags["mlflow.note.content"]


def test_params_and_headline_stand_on_the_pipeline_run(store):
    finish(record(), **{"test/f1_macro": 0.88})
    (pipeline,) = pipelines(store)
    assert pipeline.data.params == {"train.learning_rate": "1"}
    assert pipeline.data.metrics == {"test/f1_macro": 0.88}
    assert pipeline.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit(143), "KILLED")],
)
def test_the_status_says_how_a_stage_ended(store, monkeypatch, error, status):
    monkeypatch.setattr(stage_run, "new_record", lambda _params, stage: record(stage))
    try:
        with stage_run.stage_run(None, "evaluate"):
            stage_run.log_metrics({"loss": 0.1}, 1)
            if error:
                raise error
    except (ValueError, KeyboardInterrupt, SystemExit):
        pass
    assert [r.info.status for r in (*children(store), *pipelines(store))] == [status, status]


def test_an_absent_server_costs_a_warning_and_nothing_else(store, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    started = time.monotonic()
    run = StageRun(record(), Tracker)
    run.start()
    run.log({"train/loss": 0.5}, 1)
    run.end("FAILED", {})
    assert time.monotonic() - started < 15
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "127.0.0.1:9 does not answer" in said
    assert "secret" not in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').resolve()}")
    spool.replay(timeout=0)
    spool.replay(timeout=0)
    (child,) = children(store)
    assert [p.value for p in store.get_metric_history(child.info.run_id, "train/loss")] == [0.5]
    assert child.info.status == "FAILED"
    assert spool.waiting() == []


def test_what_an_earlier_stage_could_not_deliver_arrives_with_the_next(store):
    spool.folder().mkdir(parents=True)
    left = record("fetch", "k0")
    (spool.folder() / "1-fetch.json").write_text(
        json.dumps(left.__dict__ | {"status": "FINISHED", "ended": left.started + 9})
    )
    Tracker(record("train", "k1", keys={"fetch": "k0"})).start()
    assert {r.data.tags["bonafide.stage"]: r.info.status for r in children(store)} == {
        "fetch": "FINISHED",
        "train": "RUNNING",
    }


@pytest.mark.slow
def test_a_locked_database_delays_and_loses_nothing(store, monkeypatch):
    locker = sqlite3.connect("mlflow.db", check_same_thread=False, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    release = threading.Timer(30, lambda: locker.execute("COMMIT"))
    release.start()
    run = StageRun(record(), Tracker)
    run.start()
    run.log({"train/loss": 0.5}, 1)
    run.end("FAILED", {})
    release.join()
    spool.replay(timeout=0)
    (child,) = children(store)
    assert [p.value for p in store.get_metric_history(child.info.run_id, "train/loss")] == [0.5]


def test_two_first_uses_at_once_make_one_run_each(store):
    threads = [threading.Thread(target=lambda: finish(record())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pipelines(store)) == len(children(store)) == 1


@pytest.mark.slow
def test_parallel_first_uses_of_a_store_that_does_not_exist_all_succeed(tmp_path):
    code = "from bonafide.tracking.store import connect; print(connect('fresh')[1])"
    env = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'fresh.db'}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    ids = {process.communicate()[0].strip() for process in started}
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(ids) == 1


def test_a_model_is_referred_to_once_and_found_from_both_runs(store):
    what = record()
    what.model = {"dvc.path": "models/model", "dvc.md5": "ab.dir"}
    finish(what)
    finish(what)
    experiment = store.get_experiment_by_name("test").experiment_id
    (model,) = store.search_logged_models([experiment])
    assert model.tags["dvc.md5"] == "ab.dir"
    for run in (*children(store), *pipelines(store)):
        assert [found.model_id for found in run.outputs.model_outputs] == [model.model_id]


def twin(process: str, **changes) -> Record:
    """The same stage of the same pipeline as in `record`, at work elsewhere."""
    return replace(record(), tags={"bonafide.process": process}, **changes)


def test_a_twin_leaves_the_run_to_who_writes_it_and_waits(store):
    first = twin("far-away:1:1:1.00", points=[("train/loss", 0.5, 11, 1)])
    owner = Delivery(first)
    second = record()
    second.points = [("train/loss", 0.5, 22, 1)]
    assert finish(second) is False
    assert (len(pipelines(store)), len(children(store))) == (1, 1)
    first.status, first.ended = "FINISHED", first.started + 9
    assert owner.finish() is True
    assert finish(second) is True
    for run in (*children(store), *pipelines(store)):
        assert [p.timestamp for p in store.get_metric_history(run.info.run_id, "train/loss")] == [11]


@pytest.mark.parametrize("tag", ["bonafide.pipeline_key", "bonafide.stage_key"])
def test_of_two_made_in_the_same_moment_the_older_stays(store, tag):
    mine = record()
    mine.points = [("train/loss", 0.5, 22, 1)]
    delivery = Delivery(mine)
    tags = {tag: {"bonafide.pipeline_key": "p1", "bonafide.stage_key": "k1"}[tag], "bonafide.stage": "train"}
    tags |= {"mlflow.parentRunId": delivery.pipeline.info.run_id} if tag == "bonafide.stage_key" else {}
    older = store.create_run(delivery.experiment, start_time=mine.started - 1, tags=tags, run_name="older")
    store.set_terminated(older.info.run_id, "KILLED")  # it was under way to the server, and its process is gone
    mine.status, mine.ended = "FINISHED", mine.started + 9
    assert delivery.finish() is True
    kept = pipelines(store) if tag == "bonafide.pipeline_key" else children(store)
    assert [run.info.run_id for run in kept] == [older.info.run_id]
    assert [run.data.tags["mlflow.parentRunId"] for run in children(store)] == [pipelines(store)[0].info.run_id]
    for run in (*children(store), *pipelines(store)):
        assert [p.timestamp for p in store.get_metric_history(run.info.run_id, "train/loss")] == [22]


def test_children_outlive_the_twin_s_pipeline_run_that_they_were_put_below(store):
    """Ours is finished when the twin learns that its run is not the oldest."""
    theirs = Delivery(twin("far-away:1:1:1.00", started=record().started - 1))
    finish(record("fetch", "k0"))
    tags = {"bonafide.pipeline_key": "p1"}
    older = store.create_run(theirs.experiment, start_time=theirs.record.started - 1, tags=tags, run_name="older")
    theirs.record.status, theirs.record.ended = "FINISHED", theirs.record.started + 9
    assert theirs.finish() is True
    assert [run.info.run_id for run in pipelines(store)] == [older.info.run_id]
    assert {run.data.tags["mlflow.parentRunId"] for run in children(store)} == {older.info.run_id}
    assert len(children(store)) == 2


def test_params_that_an_outage_cut_off_are_sent_again(store):
    what = record()
    what.params = {f"p{i}": "1" for i in range(120)}
    Delivery(replace(what, params={"p0": "1"}))  # the second request did not arrive
    finish(what)
    (pipeline,) = pipelines(store)
    assert pipeline.data.params == what.params


def test_a_pipeline_run_has_the_curves_data_and_model_of_the_stages_it_rests_on(store):
    made = record()
    made.points = [("train/loss", 0.5, 11, 1), ("train/loss", 0.4, 12, 2)]
    made.model, made.inputs = {"dvc.md5": "ab.dir"}, {"data/raw": "cd.dir"}
    finish(made)
    finish(record("evaluate", "k2", "p2", {"train": "k1"}))
    for run in pipelines(store):
        history = store.get_metric_history(run.info.run_id, "train/loss")
        assert [(p.value, p.timestamp, p.step) for p in history] == [(0.5, 11, 1), (0.4, 12, 2)]
        assert len(run.outputs.model_outputs) == len(run.inputs.dataset_inputs) == 1


def test_a_record_that_is_refused_stays_and_lets_the_others_pass(store, capsys):
    spool.folder().mkdir(parents=True)
    (spool.folder() / "1-torn.json").write_text('{"experiment": ')
    wrong = replace(record("fetch", "k0"), params={"bad\u0000key": "1"}, status="FINISHED", ended=1_700_000_000_001)
    (spool.folder() / "2-fetch.json").write_text(json.dumps(asdict(wrong)))
    right = replace(record("validate", "k1", "p2"), status="FINISHED", ended=1_700_000_000_001)
    (spool.folder() / "3-validate.json").write_text(json.dumps(asdict(right)))
    assert spool.replay(timeout=0) == 1
    assert [path.name for path in spool.waiting()] == ["1-torn.json", "2-fetch.json"]
    assert "MLflow refuses it" in capsys.readouterr().err


def test_a_later_stage_s_old_report_is_not_this_pipeline_s_figure(store):
    REPORTS.mkdir()
    (REPORTS / "train.json").write_text('{"train/steps": 3}')
    (REPORTS / "evaluate.json").write_text('{"test/f1_macro": 0.9}')
    told = record("validate")
    complete(told)
    assert told.headline == {}


def test_a_user_whom_the_system_does_not_know_is_a_number(monkeypatch):
    """As in a container that runs under any number."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert origin.user() == str(os.getuid())


def test_a_name_says_what_was_changed_or_the_subject():
    before = {"train.epochs": "2", "train.learning_rate": "1e-05", "seed": "1", "a": "1", "b": "1"}
    assert origin.run_name("warm", before | {"train.epochs": "3"}, before, "Subject") == "epochs=3 warm"
    assert origin.run_name("1a2b3c4", before, before, "Sub\u202eject") == "Sub⟨U+202E⟩ject 1a2b3c4"
    both = before | {"seed": "2", "train.learning_rate": "0.0001"}
    assert origin.run_name("sweep-93bbcde07e", both, before, "") == "learning_rate=0.0001 seed=2 sweep-93bbcde07e"
    changed = dict.fromkeys(before, "9" * 50)
    assert origin.run_name("x" * 7, changed, before, "").endswith(" xxxxxxx")
    assert len(origin.run_name("x" * 7, changed, before, "")) <= 121
