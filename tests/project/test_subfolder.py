"""A project in a subfolder of a larger repository: all commands work there, in worktrees, and from below."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bonafide.project import git
from bonafide.project.errors import InputError
from bonafide.project.folders import enter, root
from bonafide.provenance.revisions import resolve
from tests.project import STAGES, Project, small_project
from tests.review.test_review import commit
from tests.review.test_review import git as run_git

INSIDE = "ml/sentiment"
SITE = "ml/site"  # where tests.project lets DVC keep what it would keep under /var


# Without a pipeline ------------------------------------------------------------------------------------------------


def build(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("seed: 1\n")
    (folder / "dvc.yaml").write_text("stages: {}\n")


def test_a_command_finds_its_project_from_below_or_names_those_there_are(tmp_path, monkeypatch):
    run_git("init", "-q", "-b", "main")
    build(tmp_path / "ml" / "ünï code")
    build(tmp_path / "other")
    commit("a")
    for below in ("ml/ünï code", "ml/ünï code/data/raw"):
        (tmp_path / below).mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path / below)
        enter()
        assert Path.cwd() == tmp_path / "ml" / "ünï code"
    monkeypatch.chdir(tmp_path / "ml")
    with pytest.raises(InputError, match=r"^no project \(.+\) here or above; try: cd ünï code, or cd \.\./other$"):
        enter()


def test_outside_of_a_repository_there_is_no_project(tmp_path):
    with pytest.raises(InputError, match=r"^no project \(params.yaml and dvc.yaml\) here or above$"):
        enter()
    assert git.ask("rev-parse", "HEAD") == ""
    for act in (git.top, lambda: resolve("main")):
        with pytest.raises(OSError, match=r"^git rev-parse: not a git repository"):
            act()


def test_names_and_bytes_come_as_they_are_and_relative_to_the_project(tmp_path, monkeypatch):
    run_git("init", "-q", "-b", "main")
    folder = tmp_path / "a b" / "it's"
    folder.mkdir(parents=True)
    (folder / "größe.csv").write_bytes(b"\xff\r\n")
    first = commit("a")
    monkeypatch.chdir(folder)
    assert (git.top(), git.inside()) == (tmp_path, Path("a b/it's"))
    assert git.show(first, Path("größe.csv")) == b"\xff\r\n"
    assert git.show(first, Path("a")) is None
    assert git.ask("ls-files") == "größe.csv"


def test_git_of_another_folder_is_not_led_back_by_a_hook(tmp_path, monkeypatch):
    """git tells its hooks where its repository is, by variables that outrank the folder."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_git("init", "-q", str(tmp_path / name))
    monkeypatch.chdir(tmp_path / "one")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "one/.git"))
    assert git.run("rev-parse", "--show-toplevel", folder=tmp_path / "two") == str(tmp_path / "two")


@pytest.mark.parametrize("dvc", ["", INSIDE], ids=["DVC at the top", "DVC in the project"])
def test_a_temporary_experiment_knows_the_real_project(tmp_path, monkeypatch, dvc):
    """DVC names its root, at the top or in the project, to the stages that it runs elsewhere."""
    for place in ("real", "temporary"):
        (tmp_path / place / INSIDE).mkdir(parents=True)
        (tmp_path / place / dvc / ".dvc").mkdir()
    real = tmp_path / "real" / INSIDE
    monkeypatch.chdir(real)
    assert root() == real
    monkeypatch.chdir(tmp_path / "temporary" / INSIDE)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "real" / dvc))
    assert root() == real


# With one ----------------------------------------------------------------------------------------------------------


def bonafide(project: Project, *arguments: str, below: str = ".", codes=(0,)):
    command = [sys.executable, "-m", "bonafide", *arguments]
    done = project.run("sh", "-c", 'cd "$0" && exec "$@"', below, *command, PYTHONPATH=str(project.folder))
    assert done.returncode in codes, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def experiment(project: Project, name: str, errors: int) -> None:
    done = project.run("dvc", "exp", "run", "--temp", "-n", name, "-S", f"report.worst_errors={errors}")
    assert done.returncode == 0, done.stdout + done.stderr


def tracked(project: Project):
    """The pipeline runs that MLflow has of a project, by the last stage's run that they lead to."""
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("sentiment").experiment_id])
    return [run.data.tags for run in runs if "mlflow.parentRunId" not in run.data.tags]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in a subfolder, run and committed, with somebody's work elsewhere in the repository."""
    top = tmp_path_factory.mktemp("larger") / "repository"
    made = small_project(top, inside=INSIDE)
    made.set(threads=1, promote__minimum={}, compare__samples=1000)
    shutil.copy(made.folder / "params.yaml", made.folder / "recipes/smoke.yaml")
    elsewhere = top / "other.txt"
    elsewhere.write_text("committed")
    made.git("config", "user.name", "T")
    made.git("config", "user.email", "t@example.com")
    made.commit()
    elsewhere.write_text("somebody's work")
    made.repro()
    made.git("add", ".")
    made.git("commit", "-q", "-m", "Run")
    return made


@pytest.mark.slow
def test_its_runs_are_whole_and_clean_and_nothing_is_written_outside_of_it(project):
    (tags,) = tracked(project)
    assert [tags[f"stage.{stage}"] for stage in STAGES] == ["executed"] * len(STAGES)
    assert tags["git.dirty"] == "false"
    modes = {path.stat().st_mode for name in ("base", "model") for path in (project.folder / "models" / name).iterdir()}
    assert len(modes) == 1, "weights are not as readable as their neighbours"
    experiment(project, "one-error", 1)
    (tags,) = [tags for tags in tracked(project) if tags.get("dvc.experiment") == "one-error"]
    assert (tags["stage.train"], tags["stage.report"]) == ("cached", "executed")
    assert project.git("status", "--porcelain", "--ignored=no", "--", ":/", f":!/{SITE}") == " M other.txt\n"
    assert {path.name for path in project.folder.parents[1].iterdir()} == {".git", "ml", "other.txt"}


@pytest.mark.slow
def test_commands_answer_and_do_so_from_a_folder_below(project):
    assert bonafide(project, "verify", "--json")["verdict"] == "sound"
    assert "Nothing would run.\n" in bonafide(project, "plan", below="data")
    assert bonafide(project, "sync", "HEAD", "--json", below="data/raw")["there"] == ["HEAD"]
    assert bonafide(project, "compare", "HEAD", "--json", below="bonafide/cli")["verdict"]["outcome"] == "equivalent"
    (run,) = [tags["stage.report.run"] for tags in tracked(project) if tags.get("dvc.experiment") == "none"]
    assert bonafide(project, "compare", run, "main", "--json")["verdict"]["outcome"] == "equivalent"


@pytest.mark.slow
def test_a_sweep_runs_and_champions_come_and_go(project):
    facts = bonafide(project, "sweep", "-S", "train.learning_rate=0.01", "--json", below="data")
    assert [point["status"] for point in facts["trials"]] == ["finished"]
    swept = facts["trials"][0]["experiment"]
    for version, revision in (("1", "HEAD"), ("2", swept)):
        reason = ("--force", "--reason", "a test") if version == "2" else ()
        assert bonafide(project, "promote", revision, *reason, "--json")["version"] == version
    served = (
        "from bonafide.registry import champions, server\nwith champions.open_registry('sentiment', 'sentiment') as r:"
    )
    command = [sys.executable, "-c", f"{served} print(server.prepare(r)[1]['version'])"]
    assert project.run(*command).stdout == "2\n"
    assert bonafide(project, "rollback", "--json", below="data")["version"] == "1"


def review(project: Project, base: str) -> dict:
    facts = bonafide(project, "review", base, "--json", below="data")
    assert bonafide(project, "gate", below="data") == "the gate passes\n"
    return facts


@pytest.mark.slow
def test_in_a_worktree_all_is_as_in_the_first(project, tmp_path):
    """What DVC keeps beside a worktree's files comes from the first's cache, as for any second clone."""
    project.git("worktree", "add", "-q", "-b", "change", str(tmp_path / "tree"))
    tree = object.__new__(Project)
    tree.folder = tmp_path / "tree" / INSIDE
    tree.run("dvc", "cache", "dir", "--local", str(project.folder / ".dvc/cache"))
    assert tree.run("dvc", "checkout").returncode == 0
    (tree.folder / "README.md").write_text("Changed.\n")
    tree.commit("Change what no stage reads")
    assert review(tree, "main")["mode"] == "render"
    assert bonafide(tree, "verify", "--json")["verdict"] == "sound"
    assert bonafide(tree, "compare", "main", "--json")["verdict"]["outcome"] == "equivalent"
    experiment(tree, "in-a-worktree", 1)
    told = [bonafide(tree, "sync", "in-a-worktree", "--json") for _ in range(2)]
    assert [facts["filled"] + facts["there"] for facts in told] == [["in-a-worktree"]] * 2
    assert bonafide(tree, "promote", "HEAD", "--json")["version"] == "1"


@pytest.mark.slow
def test_dvc_may_stand_at_the_repositorys_top(project, tmp_path):
    top = tmp_path / "repository"
    shutil.copytree(project.folder.parents[1], top, symlinks=True, ignore=shutil.ignore_patterns("tracking.*"))
    moved = object.__new__(Project)
    moved.folder = top / INSIDE
    for name in (".dvc", ".dvcignore"):
        (moved.folder / name).rename(top / name)
    moved.git("add", "-A", "--", ":/", f":!/{SITE}")
    moved.git("commit", "-q", "-m", "One DVC for all")
    assert bonafide(moved, "verify", "--json")["verdict"] == "sound"
    assert bonafide(moved, "compare", "HEAD", "--json", below="data")["verdict"]["outcome"] == "equivalent"
    experiment(moved, "at-the-top", 2)
    assert "at-the-top" in {tags.get("dvc.experiment") for tags in tracked(moved)}
    assert not (top / "mlflow.db").exists()
    moved.git("checkout", "-q", "-b", "other-change")  # the copy knows of the worktree's
    moved.set(report__worst_errors=3)
    shutil.copy(moved.folder / "params.yaml", moved.folder / "recipes/smoke.yaml")
    moved.commit("Show fewer errors")
    (top / "other.txt").write_text("more of somebody's work")
    found = review(moved, "main")
    assert (found["mode"], found["stale"]) == ("train", ["report"])
    facts = bonafide(moved, "reproduce", "main", "--json", below="data")
    assert {stage["result"] for stage in facts["stages"][1:]} == {"identical"}
    assert moved.git("status", "--porcelain", "--", ":/", f":!/{SITE}") == " M other.txt\n"
