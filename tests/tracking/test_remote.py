"""A team's data on S3: pushed from one folder, pulled in another, where nothing runs again. Moto serves S3 here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bonafide.project.yaml_files import parse_yaml
from tests.project import STAGES, Project, small_project
from tests.s3 import KEYS, s3_server
from tests.stages.test_pipeline import CHILDREN, PIPELINES, links

pytestmark = pytest.mark.slow


class Clone(Project):
    """A fresh clone of a project, with no cache of its own."""

    def __init__(self, origin: Project, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["git", "clone", "-q", origin.folder, folder], check=True)


@pytest.fixture(scope="module")
def s3():
    with s3_server("team") as endpoint:
        yield endpoint


def dvc(project, *arguments):
    done = project.run("dvc", *arguments, **KEYS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def origin(s3, tmp_path_factory):
    """A project that has run, and pushed its data."""
    project = small_project(tmp_path_factory.mktemp("team") / "origin")
    project.set(threads=1)
    dvc(project, "remote", "add", "--default", "team", "s3://team/sentiment")
    dvc(project, "remote", "modify", "team", "endpointurl", s3)
    project.repro()
    project.commit("Run")
    dvc(project, "push")
    return project


def test_a_fresh_clone_pulls_and_runs_nothing(origin, tmp_path):
    clone = Clone(origin, tmp_path / "clone")
    dvc(clone, "pull")
    assert "Data and pipelines are up to date." in clone.repro()
    assert clone.git("status", "--porcelain") == ""
    assert (clone.folder / "reports" / "index.html").read_bytes() == (origin.folder / "reports/index.html").read_bytes()

    done = clone.run(sys.executable, "-m", "bonafide", "sync")
    assert done.returncode == 0, done.stderr
    ((run_id, status),) = clone.query(PIPELINES)
    assert status == "FINISHED"
    assert set(links(clone)[0].values()) == {"executed"}
    assert dict(clone.query(CHILDREN)) == dict.fromkeys(STAGES, 1)
    metrics = dict(clone.query(f"select key, value from latest_metrics where run_uuid = '{run_id}'"))
    assert metrics["test/f1_macro"] == origin.read("reports/evaluate.json")["test/f1_macro"]


def lock_of(project, commit):
    return parse_yaml(project.git("show", f"{commit}:dvc.lock"), commit)["stages"]


def test_a_sweep_in_another_clone_makes_the_same_bytes_and_a_lineage_for_each_point(origin, tmp_path):
    clone = Clone(origin, tmp_path / "clone")
    dvc(clone, "pull", "fetch")
    done = clone.run(sys.executable, "-m", "bonafide", "sweep", "--seeds", "2", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    first, second = (point["experiment"] for point in facts["trials"])
    assert lock_of(clone, f"refs/exps/{facts['commit'][:2]}/{facts['commit'][2:]}/{first}") == lock_of(origin, "HEAD")

    tags = {
        run: dict(clone.query(f"select key, value from tags where run_uuid = '{run}'"))
        for run, _ in clone.query(PIPELINES)
    }
    own = tags.pop(facts["run"])
    assert {run["dvc.experiment"] for run in tags.values()} == {first, second}
    assert all(run["sweep"] == own["bonafide.sweep"] == facts["sweep"] for run in tags.values())
    for run_id, run in tags.items():
        assert {run[f"stage.{stage}"] for stage in STAGES[1:]} == {"executed"}
        assert run_id in own["mlflow.note.content"]
    assert clone.git("status", "--porcelain") == ""
