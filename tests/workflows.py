"""A workflow's steps as GitHub's runner would take them: expressions filled in, `run` in a shell, actions played."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github/workflows"
PLAYED = {"actions/checkout", "actions/setup-python", "actions/cache", "actions/upload-artifact"}


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load((WORKFLOWS / name).read_text())
    return found


def steps(name: str) -> list[dict[str, Any]]:
    (job,) = read(name)["jobs"].values()
    found: list[dict[str, Any]] = job["steps"]
    return found


def fill(text: str, expressions: dict[str, str]) -> str:
    """Fill in `${{ }}`; one that is not known is a fault of the test or of the workflow."""
    return re.sub(r"\$\{\{ (.+?) \}\}", lambda match: expressions[match[1]], str(text))


def borrow_libraries(clone: Path) -> None:
    """What `make setup` would install lies in the environment that runs the tests."""
    own = clone / ".venv"
    own.mkdir(exist_ok=True)
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith(".") and not (own / entry.name).exists():
            (own / entry.name).symlink_to(entry)
    for done in (".ready", ".comment"):
        (own / done).touch()


class Runner:
    """One job in a clone; `artifacts` are what its steps upload, `cache` is what actions/cache brings."""

    cache: Path | None = None

    def __init__(self, clone: Path, expressions: dict[str, str], **environment: str) -> None:
        self.clone, self.expressions, self.artifacts = clone, expressions, {}
        self.files = {name: clone.parent / f"{clone.name}-{name}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "MLFLOW_TRACKING"))}
        self.environment = inherited | environment | {k: str(v) for k, v in self.files.items()}
        borrow_libraries(clone)

    def job(self, name: str) -> list[tuple[str, int, str]]:
        """Take the steps until one fails; of each command its name, exit code and output."""
        done: list[tuple[str, int, str]] = []
        for step in steps(name):
            if "uses" in step:
                self.play(step)
            else:
                env = {k: fill(v, self.expressions) for k, v in step.get("env", {}).items()}
                shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
                ran = subprocess.run(
                    shell, cwd=self.clone, env=self.environment | env, capture_output=True, text=True, check=False
                )
                done.append((step["name"], ran.returncode, ran.stdout + ran.stderr))
                if ran.returncode:
                    break
        return done

    def play(self, step: dict[str, Any]) -> None:
        action = step["uses"].partition("@")[0]
        assert action in PLAYED
        if action == "actions/cache" and self.cache:
            shutil.copytree(self.cache, self.clone / step["with"]["path"], symlinks=True)
        if action == "actions/upload-artifact":
            path = self.clone / step["with"]["path"]
            assert not path.parent.name.startswith(".") or step["with"]["include-hidden-files"]
            assert path.exists() or step["with"]["if-no-files-found"] == "ignore"
            if path.exists():
                self.artifacts[step["with"]["name"]] = (path.name, path.read_bytes())

    def output(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.files["GITHUB_OUTPUT"].read_text().splitlines())


def clone(source: Path, folder: Path, branch: str) -> Path:
    """What actions/checkout leaves: a commit that no branch is at, with all of the history and `origin/main`."""
    subprocess.run(["git", "clone", "-q", "-b", branch, str(source), str(folder)], check=True)
    subprocess.run(["git", "checkout", "-q", "--detach"], cwd=folder, check=True)
    return folder
