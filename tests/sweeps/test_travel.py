"""What would not go with a commit is named before anything starts; what DVC has does go."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bonafide.project.errors import InputError
from bonafide.project.folders import left_behind
from bonafide.provenance import committed_files
from bonafide.sweeps.sweep import Sweep, Wanted
from tests.review.test_review import git

ROOT = Path(__file__).parents[2]
ADVICE = "only what git or DVC has goes with a commit: git add {0}, or dvc add {0}, and commit"


@pytest.fixture
def repository(tmp_path):
    git("init", "-q", "-b", "main")
    subprocess.run(["dvc", "init", "-q"], check=True)
    Path("params.yaml").write_text("data: {source: data/t.csv}\n")
    Path("data").mkdir()
    Path("data/t.csv").write_text("text,label\n")
    return tmp_path


def commit():
    git("add", "-A")
    git("commit", "-q", "-m", "a")


def test_an_untracked_table_is_named_with_the_two_ways(repository):
    with pytest.raises(InputError) as refused:
        committed_files.check("data.source", "data/t.csv")
    assert str(refused.value) == f"data/t.csv (params.yaml: data.source): {ADVICE.format('data/t.csv')}"
    commit()
    committed_files.check("data.source", "data/t.csv")
    committed_files.check("data.source", "data/nothing.csv")  # fetch says what is wrong with that


def test_a_folder_is_tracked_if_all_that_is_in_it_is(repository):
    Path(".gitignore").write_text("*.parquet\n/model\n")
    Path("model").mkdir()
    Path("model/config.json").write_text("{}")
    commit()
    committed_files.check("data.source", "data")
    Path("data/other part.parquet").write_text("ignored by git")
    with pytest.raises(InputError, match=r"^data/other part\.parquet \(params\.yaml: data\.source\): only what git"):
        committed_files.check("data.source", "data")
    with pytest.raises(InputError, match=r"^model/config\.json \(params\.yaml: model\.source\): .+ git add model, or"):
        committed_files.check("model.source", "model")


def test_what_dvc_tracks_goes_with_a_commit_and_is_brought(repository, tmp_path):
    subprocess.run(["dvc", "add", "-q", "data/t.csv"], check=True)
    with pytest.raises(InputError, match=r"^data/t\.csv "):
        committed_files.check("data.source", "data/t.csv")  # nobody has committed data/t.csv.dvc yet
    commit()
    committed_files.check("data.source", "data/t.csv")
    clone = tmp_path / "clone"
    git("clone", "-q", ".", str(clone))
    shutil.copytree(".dvc/cache", clone / ".dvc/cache")
    committed_files.bring(clone, "main")
    assert (clone / "data/t.csv").read_text() == "text,label\n"


def test_a_table_that_another_stage_makes_is_not_missed(repository):
    Path("dvc.yaml").write_text("stages: {get: {cmd: echo > data/t.csv, outs: [data/t.csv]}}\n")
    committed_files.check("data.source", "data/t.csv")


def test_a_revision_without_its_table_is_refused_before_it_runs(repository, tmp_path):
    Path(".gitignore").write_text("/data\n")
    commit()
    git("clone", "-q", ".", str(tmp_path / "clone"))
    with pytest.raises(InputError) as refused:
        committed_files.bring(tmp_path / "clone", "change")
    assert str(refused.value) == f"change: data/t.csv (params.yaml: data.source): {ADVICE.format('data/t.csv')}"


def test_a_sweep_is_refused_before_anything_starts(repository):
    params = (ROOT / "params.yaml").read_text()
    assert params.count("data/vader.py") >= 1
    Path("params.yaml").write_text(params.replace("data/vader.py", "data/t.csv"))
    Path(".gitignore").write_text("/data\n")
    commit()
    with pytest.raises(InputError, match=r"^data/t\.csv \(params\.yaml: data\.source\): only what git or DVC has"):
        Sweep(Wanted([], 1, 1, 0), print)


def test_a_sweep_is_refused_where_dvc_itself_would_fail(repository, monkeypatch):
    """DVC writes its settings, which name the cache, in ASCII."""
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    commit()
    git("clone", "-q", ".", "größe")
    monkeypatch.chdir("größe")
    with pytest.raises(
        InputError, match=r"größe: DVC \(3\.67\) runs no experiment in a folder of its own below a name"
    ):
        Sweep(Wanted([], 1, 1, 0), print)


def test_a_temporary_experiment_says_what_was_left_behind(repository, tmp_path, monkeypatch):
    (tmp_path / "temporary/.dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "temporary")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert left_behind("data/t.csv") == f"; {ADVICE.format('data/t.csv')}"
    assert left_behind("data/nothing.csv") == ""
    monkeypatch.chdir(tmp_path)
    assert left_behind("data/t.csv") == ""
