"""A revision is read without a checkout: a commit, an experiment and an MLflow run by what its dvc.lock says."""

import shutil
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bonafide.errors import InputError
from bonafide.lineage import locked_key
from bonafide.revisions import resolve, workspace
from bonafide.runs import tracking_uri

GRAPH = """
stages:
  evaluate:
    cmd: mkdir out; cp params.yaml out/table; cp params.yaml metrics.json
    params: [seed]
    outs: [out]
    metrics: [{metrics.json: {cache: false}}]
"""
TABLE = Path("out/table")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def repro(seed, subject):
    Path("params.yaml").write_text(f"seed: {seed}\n")
    run("dvc", "repro", "-q")
    run("git", "add", "-A")
    run("git", "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "-m", subject)


@pytest.fixture
def repository(tmp_path):
    run("git", "init", "-q", "-b", "main")
    run("dvc", "init", "-q")
    Path("dvc.yaml").write_text(GRAPH)
    for seed in (1, 2):
        repro(seed, f"Seed {seed}")
    return tmp_path


@pytest.fixture
def run_of_first(repository):
    """A pipeline run whose evaluate is that of the first commit, as bonafide.runs tags it."""
    client = MlflowClient(tracking_uri())
    key = locked_key(resolve("HEAD~1").lock()["evaluate"])
    experiment = client.create_experiment("e", artifact_location="file:///nowhere")
    child = client.create_run(experiment, tags={"bonafide.stage_key": key})
    return client.create_run(experiment, tags={"stage.evaluate.run": child.info.run_id}).info.run_id


def test_reads_what_git_and_what_dvc_keeps(repository):
    first = resolve("HEAD~1")
    assert first.read(TABLE) == first.read(Path("metrics.json")) == b"seed: 1\n"
    assert first.params() == {"seed": 1}
    assert first.lock()["evaluate"]["params"] == {"params.yaml": {"seed": 1}}
    assert resolve("main").read(TABLE) == b"seed: 2\n"


def test_the_workspace_is_what_lies_there(repository):
    Path("params.yaml").write_text("seed: 3\n")
    assert workspace().params() == {"seed": 3}
    assert workspace().read(TABLE) == b"seed: 2\n"
    with pytest.raises(InputError, match=r"^out/none: No such file"):
        workspace().read(Path("out/none"))


def test_an_experiment_has_a_name(repository):
    run("dvc", "exp", "run", "-q", "--temp", "-n", "third", "-S", "seed=3")
    assert resolve("third").read(TABLE) == b"seed: 3\n"


def test_an_mlflow_run_is_the_revision_that_locked_its_bytes(run_of_first):
    found = resolve(run_of_first)
    assert (found.name, found.commit) == (run_of_first, resolve("HEAD~1").commit)


def test_an_mlflow_run_that_was_not_committed_is_the_workspace(run_of_first):
    run("git", "checkout", "-q", "HEAD~1", "--", "dvc.lock")
    assert resolve(run_of_first).commit == ""


@pytest.mark.parametrize("name", ["none", "-x", "", "0" * 32, "main:dvc.lock"])
def test_what_is_no_revision_is_named(repository, name):
    with pytest.raises(InputError, match=f"^{name}: "):
        resolve(name)


def test_bytes_that_are_nowhere_are_named(repository):
    shutil.rmtree(".dvc/cache")
    with pytest.raises(InputError, match=r"^HEAD~1: out/table is neither in git nor in DVC's cache; try: dvc fetch$"):
        resolve("HEAD~1").read(TABLE)
