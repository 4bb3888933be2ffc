"""`bonafide sync` tells MLflow what a live run would have, once; what it cannot tell it names."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bonafide.project.errors import InputError
from bonafide.provenance.backfill import curves, finished
from bonafide.provenance.revisions import workspace
from tests.project import STAGES, Project, small_project

GRAPH = "stages: {a: {cmd: x}, b: {cmd: y}}"


def lock(**entries):
    Path("dvc.yaml").write_text(GRAPH)
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": entries}))


def entry(cmd, deps=(), outs=(), **params):
    files = {"deps": [{"path": p, "md5": d} for p, d in deps], "outs": [{"path": p, "md5": d} for p, d in outs]}
    return {"cmd": cmd, **files, "params": {"params.yaml": params}}


def test_a_finished_run_is_one_whose_stages_saw_the_same_bytes():
    lock(old=entry("z"), b=entry("y", [("made", "1"), ("code", "2")]), a=entry("x", [("code", "2")], [("made", "1")]))
    assert list(finished(workspace())) == ["a", "b"]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, r"^workspace: has no dvc.lock"),
        ({"a": entry("x")}, r"^workspace: its pipeline has not run to its end; b is missing"),
        (
            {"a": entry("x", [("c", "1")]), "b": entry("y", [("c", "2")])},
            r"^workspace: .* disagree on c; run: dvc repro",
        ),
        ({"a": entry("x", [], [("m", "1")]), "b": entry("y", [("m", "2")])}, r"disagree on m"),
        ({"a": entry("x", seed=1), "b": entry("y", seed=2)}, r"disagree on seed"),
    ],
    ids=["none", "unfinished", "code", "data", "params"],
)
def test_a_lock_that_is_of_no_single_run_is_refused(entries, message):
    lock(**entries)
    with pytest.raises(InputError, match=message):
        finished(workspace())


def test_curves_have_the_names_and_steps_of_a_live_run():
    history = "step,epoch,train_loss,learning_rate,validation_f1_macro\n10,1,0.5,1e-05,\n20,1,0.25,2e-05,0.75\n"
    assert curves(history, 7) == [
        ("train/train_loss", 0.5, 7, 10),
        ("train/learning_rate", 1e-05, 7, 10),
        ("train/train_loss", 0.25, 7, 20),
        ("train/learning_rate", 2e-05, 7, 20),
        ("train/validation_f1_macro", 0.75, 7, 20),
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two committed runs, told live; the second has the first's training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_NO_ANALYTICS", "1")
        made = small_project(tmp_path_factory.mktemp("sync") / "clone")
        made.repro()
        made.commit("First result")
        made.set(evaluate__bootstrap_samples=120)
        made.repro()
        made.commit("More samples")
        yield made


def dump(uri: str) -> dict[str, dict[str, object]]:
    """All that a store holds."""
    client = MlflowClient(uri)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return {
        run.info.run_id: {
            "info": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
            "tags": run.data.tags,
            "params": run.data.params,
            "curves": {
                key: sorted((p.timestamp, p.step, p.value) for p in client.get_metric_history(run.info.run_id, key))
                for key in run.data.metrics
            },
            "artifacts": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
            "data": sorted(made.dataset.digest for made in run.inputs.dataset_inputs),
            "models": sorted(made.model_id for made in run.outputs.model_outputs),
        }
        for run in found
    }


def content(store: dict[str, dict[str, object]]) -> dict[str, object]:
    """The same by what it is of, without times, ids and what only the running process knew."""

    def key_of(run_id):
        tags = store[run_id]["tags"]
        return tags.get("bonafide.stage_key") or tags["bonafide.pipeline_key"]

    told = {}
    for run_id, run in store.items():
        tags = run["tags"]
        links = {k: key_of(v) if k.endswith(".run") else v for k, v in tags.items() if k.startswith("stage.")}
        told[key_of(run_id)] = {
            "parent": key_of(tags["mlflow.parentRunId"]) if "mlflow.parentRunId" in tags else None,
            "links": links,
            "status": run["info"][1],
            "params": run["params"],
            "curves": {
                key: [(step, value) for _time, step, value in points]
                for key, points in run["curves"].items()
                if key not in ("train/mfu", "train/tokens_per_second")
            },
            "artifacts": [name for name in run["artifacts"] if name != "performance.md"],
            "data": run["data"],
            "models": len(run["models"]),
        }
    return told


def sync(project: Project, *arguments: str, uri: str = "", code: int = 0) -> dict[str, object]:
    command = [sys.executable, "-m", "bonafide", "sync", "--json", *arguments]
    done = project.run(*command, **({"MLFLOW_TRACKING_URI": uri} if uri else {}))
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def live(project: Project) -> str:
    return f"sqlite:///{project.folder / 'mlflow.db'}"


@pytest.mark.slow
def test_what_a_live_run_has_told_is_left_as_it_is(project):
    before = dump(live(project))
    assert sync(project, "--all")["there"] == project.git("log", "--reverse", "--format=%h", "--", "dvc.lock").split()
    assert sync(project) == {"delivered": 0, "waiting": 0, "filled": [], "there": ["workspace"], "refused": {}}
    assert dump(live(project)) == before


@pytest.mark.slow
def test_an_empty_store_gets_what_live_runs_have_told_and_twice_changes_nothing(project, tmp_path):
    uri = f"sqlite:///{tmp_path / 'fresh.db'}"
    assert len(sync(project, "--all", uri=uri)["filled"]) == 2
    first = dump(uri)
    assert content(first) == content(dump(live(project)))
    assert len(first) == 2 + len(STAGES) + 2
    names = {run["info"][0] for run in first.values()}
    short = project.git("log", "--reverse", "--format=%h", "--", "dvc.lock").split()
    one, two = f"First result {short[0]}", f"bootstrap_samples=120 {short[1]}"
    stages = {f"{stage} {one}" for stage in STAGES} | {f"{stage} {two}" for stage in ("evaluate", "report")}
    assert names == {one, two} | stages
    time = 1000 * int(project.git("log", "-1", "--format=%ct", short[1]))
    assert {run["info"][2:] for run in first.values() if run["info"][0].endswith(short[1])} == {(time, time)}
    assert {run["tags"]["bonafide.source"] for run in first.values()} == {"sync"}
    assert sync(project, "--all", uri=uri)["filled"] == sync(project, uri=uri)["filled"] == []
    assert dump(uri) == first
    project.repro("-f", "-s", "report", MLFLOW_TRACKING_URI=uri)
    assert dump(uri).keys() == first.keys()


@pytest.mark.slow
def test_two_at_once_tell_it_once(project, tmp_path):
    uri = f"sqlite:///{tmp_path / 'fresh.db'}"
    env = os.environ | {"MLFLOW_TRACKING_URI": uri}
    command = [sys.executable, "-m", "bonafide", "sync", "--all"]
    both = [subprocess.Popen(command, cwd=project.folder, env=env, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert content(dump(uri)) == content(dump(live(project)))


@pytest.mark.slow
def test_what_is_not_to_be_had_is_named_and_nothing_of_it_is_told(project, tmp_path):
    uri = f"sqlite:///{tmp_path / 'fresh.db'}"
    bare = Project.__new__(Project)
    bare.folder = tmp_path / "bare"
    subprocess.run(["git", "clone", "-q", str(project.folder), str(bare.folder)], check=True)
    refused = sync(bare, "HEAD", uri=uri, code=1)["refused"]
    assert refused == {"HEAD": "reports/train/history.csv is neither in git nor in DVC's cache; try: dvc fetch"}
    shutil.copytree(project.folder / ".dvc/cache", bare.folder / ".dvc/cache")
    (bare.folder / "reports/train.json").write_text("{}")
    assert "reports/train.json is not what its dvc.lock says" in sync(bare, uri=uri, code=1)["refused"]["workspace"]
    assert dump(uri) == {}
    assert sync(bare, "HEAD", uri=uri)["filled"] == ["HEAD"]
    shown = bare.run(sys.executable, "-m", "bonafide", "sync", MLFLOW_TRACKING_URI="http://u:secret@127.0.0.1:9")
    assert shown.returncode == 4
    assert shown.stderr.splitlines()[-1].startswith("bonafide: MLflow at http://127.0.0.1:9 does not answer")
    assert "secret" not in shown.stderr + shown.stdout
