"""A revision is read without a checkout: a commit, an experiment and an MLflow run by what its dvc.lock says."""

import shutil
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bonafide.project.dvc_lock import locked_key
from bonafide.project.errors import InputError
from bonafide.provenance.revisions import resolve, workspace
from bonafide.tracking.store import tracking_uri

GRAPH = """
stages:
  evaluate:
    cmd: mkdir out; cp params.yaml out/table; cp params.yaml metrics.json
    params: [seed]
    outs: [out]
    metrics: [{metrics.json: {cache: false}}]
"""
TABLE = Path("out/table")


def run(*command, cwd=None):
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd).stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Two commits of a repository that DVC runs."""
    folder = tmp_path_factory.mktemp("template")
    run("git", "init", "-q", "-b", "main", cwd=folder)
    run("dvc", "init", "-q", cwd=folder)
    (folder / "dvc.yaml").write_text(GRAPH)
    for seed in (1, 2):
        (folder / "params.yaml").write_text(f"seed: {seed}\n")
        run("dvc", "repro", "-q", cwd=folder)
        run("git", "add", "-A", cwd=folder)
        author = ("-c", "user.name=T", "-c", "user.email=t@example.com")
        run("git", *author, "commit", "-q", "-m", f"Seed {seed}", cwd=folder)
    return folder


@pytest.fixture
def repository(template, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(template, tmp_path / "repository"))


@pytest.fixture
def run_of_first(repository):
    """A pipeline run whose evaluate is that of the first commit, as bonafide.tracking.store tags it."""
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


@pytest.mark.slow
def test_an_experiment_has_a_name(repository):
    run("dvc", "exp", "run", "-q", "--temp", "-n", "third", "-S", "seed=3")
    assert resolve("third").read(TABLE) == b"seed: 3\n"


@pytest.mark.slow
def test_an_mlflow_run_is_the_revision_that_locked_its_bytes(run_of_first):
    found = resolve(run_of_first)
    assert (found.name, found.commit) == (run_of_first, resolve("HEAD~1").commit)


@pytest.mark.slow
def test_an_mlflow_run_that_was_not_committed_is_the_workspace(run_of_first):
    run("git", "checkout", "-q", "HEAD~1", "--", "dvc.lock")
    assert resolve(run_of_first).commit == ""


@pytest.mark.parametrize("name", ["none", "-x", "", "main:dvc.lock"])
def test_what_is_no_revision_is_named(repository, name):
    with pytest.raises(InputError, match=f"^{name}: is no commit"):
        resolve(name)


@pytest.mark.slow
def test_an_unknown_mlflow_run_is_named(repository):
    with pytest.raises(InputError, match=f"^{'0' * 32}: no MLflow run with a tracked evaluate at sqlite:"):
        resolve("0" * 32)


def test_bytes_that_are_nowhere_are_named(repository):
    shutil.rmtree(".dvc/cache")
    with pytest.raises(InputError, match=r"^HEAD~1: out/table is neither in git nor in DVC's cache; try: dvc fetch$"):
        resolve("HEAD~1").read(TABLE)
