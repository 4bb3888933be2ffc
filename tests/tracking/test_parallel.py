"""Eight at once on sqlite, an `mlflow server` and PostgreSQL: every lineage whole, nothing lost, doubled or orphaned.

`BONAFIDE_ROUNDS=3` repeats each, and lets DVC's experiments meet every store instead of one.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bonafide.params.load import load_params
from tests import clone_worker
from tests.project import small_project
from tests.stores import mlflow_server, postgres, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLONES = 8
ROUNDS = int(os.environ.get("BONAFIDE_ROUNDS", "1"))
STORES = ("sqlite", "server", "postgresql")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The tracking URI of each kind of store; no schema is made yet but the server's."""
    folder = tmp_path_factory.mktemp("stores")
    with postgres() as database, mlflow_server(folder) as server:
        yield {"sqlite": f"sqlite:///{folder / 'shared.db'}", "server": server.uri, "postgresql": database}


def run_clones(folder: Path, uri: str, names: list[str], **environment: str) -> list[str]:
    """Run a worker each, all at once; return what they said."""
    env = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)} | environment
    start = str(time.time() + 15)
    workers = []
    for number, name in enumerate(names):
        home = folder / str(number)
        home.mkdir()
        command = [sys.executable, "-m", "tests.clone_worker", name, start]
        workers.append(subprocess.Popen(command, cwd=home, env=env, stderr=subprocess.PIPE, text=True))
    said = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(names), said
    assert [list(folder.glob("*/.bonafide/undelivered/*.json")) for _ in "."] == [[]], said
    return said


def check(uri: str, clones: set[str]) -> None:
    """Each clone has one pipeline run and a run for each stage, whole and once."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("test").experiment_id
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    pipelines = {i: run for i, run in runs.items() if "mlflow.parentRunId" not in run.data.tags}
    assert Counter(run.data.tags["bonafide.pipeline_key"] for run in pipelines.values()) == Counter(
        f"pipeline-{clone}" for clone in clones
    )
    children = runs.keys() - pipelines.keys()
    own = len(clone_worker.STAGES) - len(clone_worker.SHARED)
    assert len({runs[child].data.tags["bonafide.stage_key"] for child in children}) == len(children)
    assert len(children) == len(clone_worker.SHARED) + own * len(clones)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {runs[child].data.tags["mlflow.parentRunId"] for child in children} <= pipelines.keys()
    for run in pipelines.values():
        check_pipeline(client, run, runs)
    models = client.search_logged_models([experiment])
    assert len(models) == len(clones)


def check_pipeline(client, run, runs) -> None:
    tags, clone = run.data.tags, run.data.params["seed"]
    for stage in clone_worker.STAGES:
        maker = runs[tags[f"stage.{stage}.run"]]
        shared = stage in clone_worker.SHARED
        assert maker.data.tags["bonafide.stage_key"] == f"key-{stage}" + ("" if shared else f"-{clone}")
        assert tags[f"stage.{stage}"] == (
            "executed" if maker.data.tags["mlflow.parentRunId"] == run.info.run_id else "cached"
        )
        assert len(client.get_metric_history(run.info.run_id, f"{stage}/rows")) == 1
        assert len(client.get_metric_history(maker.info.run_id, f"{stage}/rows")) == 1
    for place in (run.info.run_id, tags["stage.train.run"]):
        for key in ("train/train_loss", "train/learning_rate"):
            steps = [point.step for point in client.get_metric_history(place, key)]
            assert sorted(steps) == list(range(clone_worker.STEPS))
    assert len(run.outputs.model_outputs) == len(run.inputs.dataset_inputs) == 1


def fresh(client, name: str) -> None:
    """Each round has an experiment of its own."""
    found = client.get_experiment_by_name(name)
    if found:
        client.rename_experiment(found.experiment_id, f"{name} {found.experiment_id}")


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("kind", STORES)
def test_eight_clones_at_once(tmp_path, stores, kind, round_):
    fresh(MlflowClient(stores[kind]), "test")
    names = [f"c{i}" for i in range(CLONES)]
    run_clones(tmp_path, stores[kind], names)
    check(stores[kind], set(names))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository whose pipeline has run, as it was before MLflow heard of it."""
    made = small_project(tmp_path_factory.mktemp("experiments") / "clone", rows=120)
    made.set(threads=1)
    made.commit("One thread each")
    made.repro()
    made.commit("Run")
    return made


def run_experiments(project, uri: str, first: int) -> None:
    """DVC's queue with eight workers, on learning rates from `first` on that no run has had.

    Eight `dvc exp run --temp` started in one moment refuse each other: DVC waits 3 s for its own lock.
    """
    for number in range(CLONES):
        changed = f"train.learning_rate={first + number}e-5"  # below the project's own, which would be its pipeline
        done = project.run("dvc", "exp", "run", "--queue", "-n", f"e{number}", "-S", changed)
        assert done.returncode == 0, done.stderr
    env = os.environ | {"MLFLOW_TRACKING_URI": uri, "DVC_SITE_CACHE_DIR": str(project.folder.parent / "site")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # workers would keep a pipe open
    subprocess.run(["dvc", "queue", "start", "-j", str(CLONES)], cwd=project.folder, env=env, check=True, **quiet)

    def states() -> Counter[str]:
        shown = project.run("dvc", "queue", "status").stdout
        return Counter(word for word in shown.split() if word in {"Queued", "Running", "Success", "Failed"})

    wait_for(lambda: not states().keys() & {"Queued", "Running"}, seconds=900)
    project.run("dvc", "queue", "stop", "--kill")
    assert states() == Counter(Success=CLONES), project.run("dvc", "queue", "logs", "e0").stdout
    assert not list((project.folder / ".bonafide/undelivered").glob("*.json"))


def check_experiments(client: MlflowClient, id_: str) -> None:
    """A pipeline run for each experiment and for what they all rest on, each stage with the run that made its bytes."""
    runs = {run.info.run_id: run for run in client.search_runs([id_])}
    pipelines = {i: run for i, run in runs.items() if "mlflow.parentRunId" not in run.data.tags}
    names = Counter(run.data.tags["dvc.experiment"] for run in pipelines.values())
    assert names == Counter({"none": 1} | {f"e{number}": 1 for number in range(CLONES)})
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    children = [run for i, run in runs.items() if i not in pipelines]
    assert len({run.data.tags["bonafide.stage_key"] for run in children}) == len(children) == 6 + 3 * CLONES
    for run in pipelines.values():
        tags = run.data.tags
        assert {tags[f"stage.{stage}"] for stage in clone_worker.STAGES[3:]} == {"executed"}
        makers = [runs[tags[f"stage.{stage}.run"]] for stage in clone_worker.STAGES]
        assert {maker.data.tags["mlflow.parentRunId"] for maker in makers} <= pipelines.keys()
        history = client.get_metric_history(run.info.run_id, "train/train_loss")
        assert len({point.step for point in history}) == len(history) > 0
        assert run.data.metrics["test/f1_macro"] >= 0
        assert len(run.outputs.model_outputs) == 1


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize("kind", STORES if ROUNDS > 1 else STORES[1:2])
def test_eight_experiments_of_dvc_at_once(project, stores, kind, round_):
    client, name = MlflowClient(stores[kind]), load_params(project.folder / "params.yaml").tracking.experiment
    fresh(client, name)
    done = project.run(sys.executable, "-m", "bonafide", "sync", MLFLOW_TRACKING_URI=stores[kind])
    assert done.returncode == 0, done.stderr
    run_experiments(project, stores[kind], 1 + CLONES * (3 * round_ + STORES.index(kind)))
    check_experiments(client, client.get_experiment_by_name(name).experiment_id)
    assert project.git("status", "--porcelain") == ""
    project.run("dvc", "queue", "remove", "--success")
    project.run("dvc", "exp", "remove", "--all-commits")
