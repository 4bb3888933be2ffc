"""A revision run again from nothing: a clean clone, its own libraries, its data, and each stage's bytes compared.

What the clone cannot see cannot help it: no workspace, no run-cache, no checkpoint, no tracking store of the user's.
It runs the code of that revision.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path

from bonafide.project import git
from bonafide.project.dvc_lock import GRAPH_LOCK, Facts
from bonafide.project.environment import flatten
from bonafide.project.errors import InputError
from bonafide.project.files import read_json
from bonafide.project.paths import LOCK, PARAMS
from bonafide.project.yaml_files import read_yaml
from bonafide.provenance import clone as clones
from bonafide.provenance import committed_files
from bonafide.provenance.hashes import UNCACHED, Out, check
from bonafide.provenance.libraries import differences
from bonafide.provenance.revisions import Revision

SOURCE = "cache-of-the-workspace"  # as a DVC remote of the clone
SHOWN = 4  # metrics of a report that are named
FETCH = "fetch"  # the only stage that may use a network
IDENTICAL, DIFFERENT, FAILED, FROM_CACHE = "identical", "different", "failed", "from cache"


@dataclass(frozen=True)
class Clone:
    """A clean clone of one commit, and what its commands run with."""

    folder: Path
    python: Path
    base: Path
    """The temporary folder that has all of it."""

    @property
    def log(self) -> Path:
        """What its commands have printed."""
        return self.base / "log.txt"

    @property
    def store(self) -> Path:
        """A tracking store of its own, which goes with it."""
        return self.base / "mlflow.db"

    def dvc(self, *arguments: str) -> bool:
        """Run a DVC command in it; whether it succeeded."""
        return self.run(str(self.python), "-m", "dvc", *arguments)

    def run(self, *command: str) -> bool:
        """Run a command in it, without what in the user's environment would lead out of it."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GIT_", "PYTHONPATH"))}
        own = {
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.base / "site"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.store}",
        }
        with self.log.open("ab") as log:
            done = subprocess.run(command, cwd=self.folder, env=kept | own, stdout=log, stderr=log, check=False)
        return done.returncode == 0

    def lock(self) -> dict[str, Facts]:
        """The stages of its dvc.lock as it is now, each after those it depends on."""
        return in_order(read_yaml(self.folder / GRAPH_LOCK)["stages"])

    def last_line(self, start: str = "") -> str:
        """The last line of the log that begins so, else the last of all."""
        lines = [line for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return next((line for line in reversed(lines) if line.startswith(start)), lines[-1] if lines else "no word")


@dataclass(frozen=True)
class Outcome:
    """What came of one stage."""

    stage: str
    result: str
    """identical, different, failed, or from cache: not run, but copied, with its hashes checked."""
    seconds: float = 0.0
    files: dict[str, str] = field(default_factory=dict)
    """What differs, by file."""
    inputs: list[str] = field(default_factory=list)
    """Code, data and parameters that the commit has otherwise than its dvc.lock says."""


def in_order(stages: dict[str, Facts]) -> dict[str, Facts]:
    """The entries of a dvc.lock, each after those whose outputs it reads."""
    made = {Path(out["path"]): name for name, entry in stages.items() for out in entry.get("outs", [])}
    needs = {
        name: {made[path] for dep in entry.get("deps", []) for path in made if Path(dep["path"]).is_relative_to(path)}
        for name, entry in stages.items()
    }
    return {name: stages[name] for name in TopologicalSorter(needs).static_order()}


def clone(revision: Revision, folder: Path) -> Clone:
    """Copy one commit, whatever refers to it, and nothing else, into `folder`."""
    source = folder / "clone"
    source.mkdir(parents=True)
    git.run("init", "-q", folder=source)
    git.run("fetch", "-q", "--depth", "1", str(git.top()), revision.commit, folder=source)
    git.run("checkout", "-q", "--detach", "FETCH_HEAD", folder=source)
    return Clone(source / git.inside(), Path(sys.executable), folder)


def libraries(made: Clone) -> dict[str, tuple[str, str]]:
    """The libraries that its lock wants and this machine has not, as (locked, installed)."""
    texts = [made.folder / name for name in (LOCK, "pyproject.toml")]
    return differences(*(path.read_text(encoding="utf-8") for path in texts))


def install(made: Clone) -> Clone:
    """Make the locked libraries, as that revision's own `make setup` does; minutes, and a network. Raise OSError."""
    if not made.run("make", "setup", f"PYTHON={sys.executable}"):
        raise OSError(f"its libraries cannot be installed: {made.last_line('ERROR: ')}")
    return Clone(made.folder, made.folder / ".venv/bin/python", made.base)


def reproduce(made: Clone, cache: Path, begin: Callable[[str], None]) -> Iterator[Outcome]:
    """Run each stage in turn and yield what came of it, up to the first that differs or fails.

    `cache` is the user's DVC cache: what `fetch` brings is copied from it, its hashes checked, and nothing else is
    taken. `begin` is told each stage before it runs.
    """
    recorded = made.lock()
    remote = f"['remote \"{SOURCE}\"']\n    url = {clones.quoted(cache)}\n    verify = true\n"
    clones.configure(made.base / "clone", f"[cache]\n    dir = cache\n{remote}")
    for stage, entry in recorded.items():
        begin(stage)
        started = time.monotonic()
        outcome = _given(made, stage, entry) or _run(made, stage, entry, cache)
        yield replace(outcome, seconds=time.monotonic() - started)
        if outcome.result in (DIFFERENT, FAILED):
            return


def _given(made: Clone, stage: str, entry: Facts) -> Outcome | None:
    """The bytes that `fetch` brought, from the cache: it alone may need a network, and its pins are hashes."""
    there = stage == FETCH and made.dvc("pull", "--quiet", "--remote", SOURCE, stage)
    return Outcome(stage, FROM_CACHE) if there and not _differences(made, stage, entry, Path()) else None


def _run(made: Clone, stage: str, entry: Facts, cache: Path) -> Outcome:
    if stage == FETCH:
        try:
            committed_files.bring(made.folder, "the commit", "--remote", SOURCE)
        except InputError as error:
            return Outcome(stage, FAILED, files={"": str(error)})
    if not made.dvc("repro", "--force", "--single-item", stage):  # forced: without the run-cache
        return Outcome(stage, FAILED, files={"": made.last_line(f"{stage}: ")})
    files = _differences(made, stage, entry, cache)
    return Outcome(stage, DIFFERENT if files else IDENTICAL, files=files, inputs=_inputs(entry, made.lock()[stage]))


def _differences(made: Clone, stage: str, entry: Facts, cache: Path) -> dict[str, str]:
    """What is not as recorded, by file: in dvc.lock, or in git, which has the small metrics."""
    objects = cache / "files" / "md5"
    outs = [
        Out(made.folder / out["path"], out["md5"], stage, kept=True, cache=objects) for out in entry.get("outs", [])
    ]
    problems, _ = check(outs, lambda path: "__pycache__" in path, lambda _done, _all: None)
    files = {
        str(Path(p.path).relative_to(made.folder)): p.note for p in problems if p.kind != UNCACHED and not p.object
    }
    paths = [out["path"] for out in entry.get("outs", [])]
    for path in git.run("diff", "--name-only", "--relative", "HEAD", "--", *paths, folder=made.folder).splitlines():
        files[path] = _changed_values(made, path) or files.get(path, "is not as the commit has it")
    return files


def _changed_values(made: Clone, path: str) -> str:
    """Which of a report's metrics differ from those in the commit."""
    if not path.endswith(".json"):
        return ""
    before = json.loads(git.show("HEAD", Path(path), made.folder) or "{}")
    after = read_json(made.folder / path)
    changed = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return ", ".join(f"{key} {before.get(key)} → {after.get(key)}" for key in changed[:SHOWN]) + more


def _inputs(recorded: Facts, now: Facts) -> list[str]:
    """The inputs that the commit has otherwise than its dvc.lock says."""
    old, new = ({dep["path"]: dep["md5"] for dep in entry.get("deps", [])} for entry in (recorded, now))
    old_params, new_params = (flatten(entry.get("params", {}).get(str(PARAMS), {})) for entry in (recorded, now))
    changed = [path for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path)]
    changed += [
        key for key in sorted(old_params.keys() | new_params.keys()) if old_params.get(key) != new_params.get(key)
    ]
    return changed + (["the command"] if recorded["cmd"] != now["cmd"] else [])
