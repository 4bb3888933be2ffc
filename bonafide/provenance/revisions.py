"""What a revision holds: of the workspace, a commit, a DVC experiment or an MLflow run, read without a checkout."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonafide.project import git
from bonafide.project.dvc_lock import GRAPH_LOCK, locked_key
from bonafide.project.errors import InputError
from bonafide.project.paths import PARAMS
from bonafide.project.yaml_files import parse_yaml

Facts = dict[str, Any]

JUDGED = "evaluate"  # the stage whose key says which revision an MLflow run is


@dataclass(frozen=True)
class Revision:
    """A state of the repository: files in git as git has them, the rest as DVC's cache or remote has them."""

    name: str
    """As the user gave it."""
    commit: str
    """Full hash, or "" for the workspace."""

    def read(self, path: Path) -> bytes:
        """Read one file; raise InputError where neither git nor DVC has it."""
        import dvc.api
        from dvc.exceptions import DvcException
        from dvc_data.index import DataIndexDirError

        if not self.commit:
            return _read(path)
        try:
            content: bytes = dvc.api.read(in_repository(path), rev=self.commit, mode="rb")
        except (DvcException, DataIndexDirError, OSError):
            raise InputError(f"{self.name}: {path} is neither in git nor in DVC's cache; try: dvc fetch") from None
        return content

    def lock(self) -> dict[str, Facts]:
        """The stages of its dvc.lock, or nothing where it has none."""
        text = show(self.commit, GRAPH_LOCK)
        return {} if text is None else (parse_yaml(text, self._place(GRAPH_LOCK)) or {}).get("stages", {})

    def params(self) -> Facts:
        """Its params.yaml, untyped: an older revision may lack keys of today's."""
        text = show(self.commit, PARAMS)
        if text is None:
            raise InputError(f"{self.name}: has no {PARAMS}")
        found: Facts = parse_yaml(text, self._place(PARAMS))
        return found

    def _place(self, path: Path) -> str:
        return f"{self.name}:{path}" if self.commit else str(path)


def workspace() -> Revision:
    """What lies in the working folder."""
    return Revision("workspace", "")


def resolve(name: str) -> Revision:
    """Find the revision that `name` is of: a commit, branch or tag, else a DVC experiment, else an MLflow run's id.

    Raise InputError where it is none, OSError where git does not read the repository.
    """
    found = _commit(name) or _experiment(name)
    if found:
        return Revision(name, found)
    if re.fullmatch(r"[0-9a-f]{32}", name):
        return of_run(name)
    git.run("rev-parse", "--git-dir")  # of no repository, or one of another user's, git says so itself
    raise InputError(f"{name}: is no commit, branch, tag, DVC experiment or MLflow run here")


def of_run(run_id: str) -> Revision:
    """The revision whose dvc.lock has the bytes that an MLflow run stands for.

    A run's own `git.commit` is the commit *before* its dvc.lock was committed, so the stage key decides.
    """
    from bonafide.tracking.store import stage_key

    key = stage_key(run_id, JUDGED)
    for candidate in _candidates(run_id):
        entry = candidate.lock().get(JUDGED)
        if entry and locked_key(entry) == key:
            return candidate
    raise InputError(f"{run_id}: no commit or experiment here has its {GRAPH_LOCK}; commit it or fetch its branch")


def _candidates(name: str) -> Iterator[Revision]:
    yield Revision(name, "")
    for commit in git.ask("log", "--all", "--format=%H", "--", str(GRAPH_LOCK)).split():
        yield Revision(name, commit)


def _commit(name: str) -> str:
    return git.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")


def _experiment(name: str) -> str:
    refs = git.ask("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    found = [line.split()[0] for line in refs if line.rpartition("/")[2] == name]
    if len(set(found)) > 1:
        raise InputError(f"{name}: {len(found)} DVC experiments have this name; give the commit")
    return found[0] if found else ""


def in_repository(path: Path) -> str:
    """A path of the project as DVC names it at a commit: from the repository's top."""
    return (git.inside() / path).as_posix()


def show(commit: str, path: Path) -> str | None:
    """A text file as git has it at `commit`, or the workspace's where that is ""; None where there is none."""
    content = git.show(commit, path) if commit else _read(path) if path.exists() else None
    try:
        return None if content is None else content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{commit[:7]}{':' if commit else ''}{path}: is not UTF-8") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
