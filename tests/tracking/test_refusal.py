"""What MLflow refuses is told at once with its own reason and what to do; only who is silent does not answer."""

import os
import shutil
import sqlite3

import pytest

from bonafide.params.mlflow_names import folder_name
from bonafide.params.sections import Promote, Tracking
from bonafide.tracking import spool
from bonafide.tracking.refusal import UNTOLD, why
from bonafide.tracking.stage_run import StageRun
from bonafide.tracking.store import connect
from bonafide.tracking.tracker import Tracker
from tests.stores import answering, free_port
from tests.tracking.test_tracking import finish, record, store, template

__all__ = ["store", "template"]  # fixtures


def told(uri: str) -> str:
    os.environ["MLFLOW_TRACKING_URI"] = uri  # as monkeypatch found it, it is put back
    try:
        connect("test")
    except UNTOLD as error:
        return why(error, uri)
    return "taken"


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


def damaged(path, kind: str) -> str:
    """A database that is none, or one of another time."""
    if kind == "junk":
        path.write_bytes(b"no database" * 1000)
        return f"sqlite:///{path}"
    shutil.copy("mlflow.db", path)
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = ?", [kind])
    connection.close()
    return f"sqlite:///{path}"


@pytest.mark.parametrize(
    ("kind", "reason", "advice"),
    [
        ("junk", "file is not a database", "set MLFLOW_TRACKING_URI"),
        ("ffffffffffff", "Detected out-of-date database schema", "of a newer MLflow than this one"),
        ("451aebb31d03", "Detected out-of-date database schema", "mlflow db upgrade"),
    ],
    ids=["junk", "newer", "older"],
)
def test_a_database_that_cannot_be_used_is_told_with_what_helps(store, tmp_path, kind, reason, advice):
    said = told(damaged(tmp_path / "other.db", kind))
    assert said.startswith(f"MLflow at sqlite:///{tmp_path}/other.db: {reason}")
    assert advice in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("./mlruns", "The filesystem tracking backend (e.g., './mlruns') is in maintenance mode"),
        ("file:///tmp/mlruns", "The filesystem tracking backend"),
        ("mongodb://x", "Model registry functionality is unavailable; got unsupported URI 'mongodb://x'"),
        ("http://127.0.0.1:99999", "Invalid url"),
        ("mysql://u:secret@127.0.0.1/x", "No module named 'MySQLdb'; install the driver"),
    ],
)
def test_a_store_that_mlflow_cannot_use_is_told_with_its_reason(uri, reason):
    said = told(uri)
    assert f": {reason}" in said
    assert "does not answer" not in said
    assert "secret" not in said


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_who_is_silent_does_not_answer_and_is_asked_once(scheme):
    uri = f"{scheme}://user:secret@127.0.0.1:{free_port()}/x"
    assert told(uri).startswith(f"MLflow at {uri.replace('user:secret@', '')} does not answer (")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, "You are not authenticated. Please see x.", "You are not authenticated; set MLFLOW_TRACKING_USERNAME"),
        (401, "<html><h1>401 Authorization Required</h1></html>", "401 Authorization Required; set MLFLOW_TRACKING"),
        (403, "Permission denied", "Permission denied; ask for the right to edit this experiment"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', "PERMISSION_DENIED: no; ask for the right"),
        (404, "nothing here", "nothing here"),
        (
            500,
            '{"error_code": "INTERNAL_ERROR", "message": "out of order"}',
            "it answers with error 500; its own log says why",
        ),
        (502, "<html>Bad Gateway</html>", "it answers with error 502"),
    ],
)
def test_what_a_server_says_no_to_is_told_in_its_words(status, body, said):
    with answering(status, body.encode()) as uri:
        assert told(uri).startswith(f"MLflow at {uri}: {said}")


def test_a_server_that_is_not_trusted_answers(tmp_path):
    with answering(200, b"{}") as uri:
        assert "does not answer" not in told(uri.replace("http://", "https://"))


def test_a_deleted_experiment_is_told_and_the_stage_goes_on(store, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    number = store.get_experiment_by_name("test").experiment_id
    store.delete_experiment(number)
    run = StageRun(record(), Tracker)
    run.start()
    run.end("FAILED", {})
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the experiment 'test' is deleted; mlflow experiments restore --experiment-id {number}, or params" in line
    assert len(spool.waiting()) == 1
    store.restore_experiment(number)
    Tracker(record("evaluate", "k2")).start()
    assert spool.waiting() == []


NAMES = [
    "sentiment v1.2",
    "a/b: c",
    "/abs",
    "..",
    "it's",
    'a "b"',
    "%41 b#c?d",
    "情感 ünï 😀",
    " ",
    "a\nb",
    "\\",
    "é" * 500,
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_mlflow_takes_reaches_it(store, monkeypatch, tmp_path, name):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    Tracking(experiment=name)
    page = tmp_path / "page.html"
    page.write_text("page")
    what = record()
    what.experiment, what.model = name, {"dvc.path": "models/model", "dvc.md5": "ab.dir"}
    what.attachments = {str(page): "71860c77c6745379b0d44304d66b6a13"}
    assert finish(what)
    experiment = store.get_experiment_by_name(name)
    runs = store.search_runs([experiment.experiment_id])
    assert len(runs) == 2
    assert len(store.search_logged_models([experiment.experiment_id])) == 1
    (child,) = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert [found.path for found in store.list_artifacts(child.info.run_id)] == ["page.html"]
    (kept,) = (tmp_path / "mlartifacts").rglob("page.html")
    assert kept.parents[2].parent == tmp_path / "mlartifacts"


def test_an_experiments_folder_is_its_name_where_that_is_plain_and_never_anothers():
    assert folder_name("sentiment v1.2") == "sentiment v1.2"
    found = {folder_name(name) for name in [*NAMES, "a/b: d", "../a", "A-b--c"]}
    assert len(found) == len(NAMES) + 3
    assert all("/" not in name and name.isascii() and 0 < len(name) <= 100 for name in found)


@pytest.mark.parametrize("name", ["", "x" * 501, "a\0b", "\ud800"])
def test_a_name_that_mlflow_refuses_is_refused_with_the_params(name):
    with pytest.raises(ValueError, match="experiment"):
        Tracking(experiment=name)


@pytest.mark.parametrize(
    ("name", "good"),
    [("sentiment v1.2", True), ("情感's \"%", True), ("a/b", False), ("a:b", False), ("..", False), (" ", False)],
)
def test_a_champions_name_is_any_that_mlflow_takes(store, name, good):
    try:
        Promote(model=name, minimum={}, verdicts=[])
        taken = True
    except ValueError:
        taken = False
    assert taken == good
    if good:
        assert store.create_registered_model(name).name == name
    else:
        with pytest.raises(Exception, match=r"(?i)name"):
            store.create_registered_model(name)
