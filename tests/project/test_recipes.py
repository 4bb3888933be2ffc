"""`make repro RECIPE=...`: another job beside the repository's own, in a copy, on the same cache and runs."""

import shutil

import pytest

from tests.project import STAGES, small_project

pytestmark = pytest.mark.slow


def make(project, recipe: str):
    return project.run("make", "--silent", "--old-file=setup", "repro", f"RECIPE={recipe}")


def test_a_recipe_runs_beside_the_repository_s_own_job_and_can_become_it(tmp_path):
    project = small_project(tmp_path / "clone")
    ignored = project.folder / ".gitignore"
    ignored.write_text(ignored.read_text().replace("/tiny\n", ""))
    project.set(tracking__experiment="other")
    shutil.move(project.folder / "params.yaml", project.folder / "recipes/other.yaml")
    project.git("checkout", "params.yaml")
    project.commit("A recipe")

    done = make(project, "other")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.ran(done.stdout) == STAGES
    assert "report   .bonafide/recipes/other/reports/index.html" in done.stdout
    assert (project.folder / ".bonafide/recipes/other/reports/index.html").exists()
    assert not (project.folder / ".bonafide/recipes/other/mlflow.db").exists()
    assert project.query("select name from experiments where name = 'other'")
    assert next(project.folder.glob("mlartifacts/other*"))
    assert project.git("status", "--porcelain") == ""

    assert project.ran(make(project, "other").stdout) == [], "the repository's cache has it"
    shutil.copy(project.folder / "recipes/other.yaml", project.folder / "params.yaml")
    assert project.ran(project.repro()) == []
    assert (project.folder / "reports/index.html").exists()


def test_a_recipe_that_is_none_is_named(tmp_path):
    project = small_project(tmp_path / "clone")
    done = make(project, "none")
    assert done.returncode == 2
    assert "recipes/none.yaml: no such recipe; there are: " in done.stdout
    assert "smoke" in done.stdout
