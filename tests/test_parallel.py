"""Eight at once on sqlite, an `mlflow server` and PostgreSQL: every lineage whole, nothing lost, doubled or orphaned.

`BONAFIDE_ROUNDS=3` repeats each.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests import clone_worker
from tests.stores import mlflow_server, postgres

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
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


@pytest.mark.parametrize("kind", STORES)
def test_eight_clones_at_once(tmp_path, stores, kind):
    names = [f"c{i}" for i in range(CLONES)]
    run_clones(tmp_path, stores[kind], names)
    check(stores[kind], set(names))
