"""verify, plan and reproduce on a real project: what DVC does not see, what it would do, what a clone makes of it."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from statistics import median

import pytest

from bonafide.provenance.forecast import FAIL, PERHAPS, RESTORE, RUN, SKIP, forecast
from bonafide.provenance.stage_costs import past_runs
from bonafide.provenance.verification import audit
from tests.project import STAGES, Project, small_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # DVC's, in its use of pygtrie
]

CACHE = Path(".dvc/cache/files/md5")
MODEL = Path("models/model/model.safetensors")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Two committed runs, of which the second has another learning rate."""
    project = small_project(tmp_path_factory.mktemp("verify") / "clone")
    project.repro()
    project.commit("First")
    project.set(train__learning_rate=0.001)
    project.repro()
    project.commit("Second")
    return project


@pytest.fixture
def project(original, tmp_path, monkeypatch):
    """A copy of it to damage, in which we are."""
    copy = object.__new__(Project)
    copy.folder = shutil.copytree(
        original.folder, tmp_path / "clone", symlinks=True, ignore=shutil.ignore_patterns("tracking.*")
    )
    monkeypatch.chdir(copy.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return copy


def bonafide(project: Project, *arguments: str):
    return project.run(sys.executable, "-m", "bonafide", *arguments)


def found() -> set[tuple[str, str, str]]:
    return {(problem.kind, problem.path, problem.stage) for problem in audit().problems}


def object_of(path: Path) -> Path:
    from bonafide.project.files import md5

    digest = md5(path)
    return CACHE / digest[:2] / digest[2:]


def flip(path: Path) -> None:
    """Flip a bit as a disk does: mode, size and time stay."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-5] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and "tmp" not in path.parts}


def test_a_flipped_byte_in_the_cache_is_named_which_dvc_calls_up_to_date(project):
    assert (audit().verdict, found()) == ("sound", set())
    path = object_of(MODEL)
    flip(path)
    assert oct(path.stat().st_mode)[-3:] == "444"
    before = snapshot(project.folder)
    done = bonafide(project, "verify", "--json")
    assert done.returncode == 1, done.stderr
    (problem,) = json.loads(done.stdout)["problems"]
    assert (problem["kind"], problem["path"], problem["stage"]) == ("altered", str(MODEL), "train")
    assert problem["object"] == str(path.resolve())
    assert snapshot(project.folder) == before
    shutil.rmtree("models/model")  # the contrast: DVC restores the corrupt bytes without a word, and is content
    assert project.run("dvc", "checkout").returncode == 0
    assert "Data and pipelines are up to date." in project.run("dvc", "status").stdout
    assert MODEL.read_bytes() == path.read_bytes()


def test_outputs_that_are_altered_are_named(project):
    os.truncate("models/model/config.json", 10)
    flip(Path("reports/train.json"))
    flip(MODEL)
    assert found() == {
        ("altered", "models/model/config.json", "train"),
        ("altered", str(MODEL), "train"),
        ("altered", "reports/train.json", "train"),
    }


def test_what_is_not_here_is_not_called_altered(project):
    shutil.rmtree("data/validated")
    done = bonafide(project, "verify")
    assert done.returncode == 4
    assert done.stdout.startswith("missing       data/validated (validate): try: dvc checkout\n")
    shutil.rmtree(".dvc/cache")
    done = bonafide(project, "verify")
    assert done.returncode == 4
    assert "data/validated (validate): nor is it in the cache; try: dvc pull, or dvc repro" in done.stdout
    assert "not in cache  models/model (train)" in done.stdout


def test_a_damaged_lock_is_named_and_one_command_brings_it_back(project):
    lock = Path("dvc.lock")
    text = lock.read_text()
    for damage, stage in {
        "": "",
        text[: text.index("md5: ") + 9]: "",
        text[: text.index("size: ") + 5]: "",
        text[: text.index("  report:")]: "report",
        re.sub(r"size: \d+", "size:", text, count=1).replace("    - path: bonafide/params\n", "    - {}\n", 1): "",
        text.replace(
            "    - path: models/model\n      hash: md5\n      md5: ", "    - path: models/model\n      md5: 0", 1
        ): "",
    }.items():
        lock.write_text(damage)
        assert ("altered", "dvc.lock") in {(kind, path) for kind, path, of in found() if of.startswith(stage)}, damage[
            :80
        ]
    project.git("checkout", "dvc.lock")
    assert project.ran(project.repro()) == []
    Path(".dvc/tmp/rwlock").write_text("{")
    done = bonafide(project, "verify")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "rwlock" in done.stderr


def test_code_and_params_out_of_step_are_named(project):
    path = Path("bonafide/datasets/ragged.py")
    before = path.stat()
    path.write_text(path.read_text().replace("text i", "text j", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # DVC itself looks no further
    project.set(train__learning_rate=0.003)
    stages = {stage for kind, what, stage in found() if (kind, what) == ("out of step", "bonafide/datasets")}
    assert stages == {"tokenize", "train", "evaluate"}
    assert ("out of step", "train.learning_rate", "train") in found()


def does() -> dict[str, str]:
    return {step.stage: step.does for step in forecast()}


def test_the_plan_is_what_dvc_then_does(project):
    assert does() == dict.fromkeys(STAGES, SKIP)
    project.set(train__learning_rate=0.003)
    assert "'train' is cached" in project.run("dvc", "repro", "--dry").stdout, "DVC no longer errs: ask it instead"
    assert does() == dict.fromkeys(STAGES[:3], SKIP) | {"train": RUN, "evaluate": PERHAPS, "report": RUN}
    (reason,) = next(step.reasons for step in forecast() if step.stage == "train")
    assert (reason.kind, reason.what, reason.before, reason.after) == (
        "parameter",
        "train.learning_rate",
        "0.001",
        "0.003",
    )
    project.set(train__learning_rate=0.002)
    assert does() == dict.fromkeys(STAGES[:3], SKIP) | dict.fromkeys(STAGES[3:], RESTORE)
    output = project.repro()
    assert project.ran(output) == []
    assert output.count("is cached - skipping run") == 3
    Path("stages/report.py").write_text(Path("stages/report.py").read_text() + "# touched\n")
    assert does() == dict.fromkeys(STAGES[:5], SKIP) | {"report": RUN}
    assert project.ran(project.repro()) == ["report"]
    Path("data/table.jsonl").unlink()
    assert does() == {"fetch": FAIL} | dict.fromkeys(STAGES[1:], PERHAPS)


def test_the_plan_knows_times_or_says_that_it_does_not(project):
    project.set(train__learning_rate=0.003)
    shown = bonafide(project, "plan", "--json")
    train = next(stage for stage in json.loads(shown.stdout)["stages"] if stage["stage"] == "train")
    ended = "select end_time, p.value from runs join tags p using (run_uuid) join tags s using (run_uuid)"
    runs = project.query(f"{ended} where p.key = 'bonafide.process' and s.key = 'bonafide.stage' and s.value = 'train'")
    took = [end / 1000 - float(process.rpartition(":")[2]) for end, process in runs]
    assert train["seconds"] == pytest.approx(median(took))
    assert (train["runs"], train["joules"]) == (2, None)
    assert train["bytes"] > MODEL.stat().st_size
    assert set(past_runs(STAGES)) == set(STAGES)
    Path("mlflow.db").unlink()
    shown = bonafide(project, "plan")
    assert shown.returncode == 0
    assert "Time: unknown." in shown.stdout
    assert not Path("mlflow.db").exists()


def test_the_previous_commit_is_reproduced_and_nothing_of_the_workspace_is_used_or_changed(project, tmp_path):
    """Named by the MLflow run that made its bytes."""
    ((run,),) = project.query("select run_uuid from params where key = 'train.learning_rate' and value = '0.002'")
    Path("stages/train.py").write_text("raise SystemExit(1)\n")
    (tmp_path / "t").mkdir()
    before = snapshot(project.folder)
    done = project.run(sys.executable, "-m", "bonafide", "reproduce", run, "--json", TMPDIR=str(tmp_path / "t"))
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert facts["commit"] == project.git("rev-parse", "HEAD~1").strip()
    results = {stage["stage"]: stage["result"] for stage in facts["stages"]}
    assert results == {"fetch": "from cache"} | dict.fromkeys(STAGES[1:], "identical")
    assert snapshot(project.folder) == before
    assert list((tmp_path / "t").iterdir()) == []


def test_a_hidden_input_is_named_by_the_first_stage_that_differs(project, tmp_path):
    stage = Path("stages/validate.py")
    code = stage.read_text()
    anchor = "        **found.metrics,\n"
    assert code.count(anchor) == 1
    stage.write_text(
        "import os\n" + code.replace(anchor, f'{anchor}        "hidden": os.path.exists(".hidden") + 0.0,\n')
    )
    Path(".git/info/exclude").write_text(".hidden\n")
    Path(".hidden").write_text("")
    project.repro("validate")
    project.commit("Depend on what is not in git")
    done = bonafide(project, "reproduce")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Different: validate is the first stage to differ in a clean clone" in done.stdout
    assert "  reports/validate.json: validate/hidden 1.0 → 0.0\n" in done.stdout
    assert "The environment does not explain it" in done.stdout
    shutil.rmtree(done.stdout.split()[-1].rstrip("."))


def test_a_lock_that_was_not_made_by_the_commits_code_says_so(project):
    """A report altered in git, and code altered after the run."""
    report, stage = Path("reports/validate.json"), Path("stages/validate.py")
    facts = json.loads(report.read_text())
    name = min(facts)
    report.write_text(report.read_text().replace(f'"{name}": {json.dumps(facts[name])}', f'"{name}": 77'))
    stage.write_text(stage.read_text() + "# touched\n")
    project.commit("Better")
    done = bonafide(project, "reproduce", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    last = facts["stages"][-1]
    assert (last["stage"], last["result"], last["inputs"]) == ("validate", "different", ["stages/validate.py"])
    assert f"{name} 77 →" in last["files"]["reports/validate.json"]
    shutil.rmtree(facts["folder"])


@pytest.mark.parametrize("name", ["nothing", "HEAD~2"])
def test_what_cannot_be_reproduced_is_refused_in_a_line(project, name):
    done = bonafide(project, "reproduce", name)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert done.stderr.startswith(f"bonafide: {name}: ")
