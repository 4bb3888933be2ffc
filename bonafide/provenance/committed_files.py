"""What goes with a commit to where it is run again: the files that git has, and those that DVC has for it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from bonafide.project import git
from bonafide.project.errors import InputError
from bonafide.project.folders import only_tracked
from bonafide.project.paths import PARAMS
from bonafide.project.yaml_files import read_yaml

DVC = (sys.executable, "-m", "dvc")


def check(key: str, source: str) -> None:
    """Raise InputError where the file or folder that params.yaml names in `key` would not go with the last commit."""
    if file := untracked(Path(source)):
        raise InputError(f"{file} (params.yaml: {key}): {only_tracked(source)}")


def untracked(path: Path) -> str:
    """The first file of a file or folder of the project that neither git nor DVC has; "" where there is none."""
    if not path.exists() or path.is_absolute():
        return ""  # fetch says what is wrong with the one; all on this machine have the other
    others = git.run("ls-files", "--others", "--", path.as_posix()).splitlines()  # ignored ones, too
    if not others or _is_in_dvc(path):
        return ""
    return others[0]


def _is_in_dvc(path: Path) -> bool:
    """Whether it is an output that DVC knows: of `dvc add`, which is in git then, or of another stage."""
    from dvc.repo import Repo

    with Repo() as repo:
        outs = [
            (Path(out.fs_path), stage) for stage in repo.index.stages for out in stage.outs if out.protocol == "local"
        ]
    there = path.resolve()
    known = [stage for out, stage in outs if there.is_relative_to(out) or out.is_relative_to(there)]
    return any(stage.cmd or git.ask("ls-files", "--", stage.path) for stage in known)


def bring(project: Path, name: str, *remote: str) -> None:
    """Bring what DVC has for the project of a clone; raise InputError where its table is not in the revision `name`.

    `remote` are options of `dvc pull`; what is in the clone's cache need not be pulled.
    """
    pointers = git.ask("ls-files", "--", "*.dvc", folder=project).splitlines()
    for command in ("checkout", "pull") if pointers else ():
        if not _table(project).exists():
            options = remote if command == "pull" else ()
            call = [*DVC, command, "--quiet", "--allow-missing", *options, *pointers]
            subprocess.run(call, cwd=project, stdout=2, check=False)
    if not _table(project).exists():
        table = _table(project).relative_to(project)
        raise InputError(f"{name}: {table} (params.yaml: data.source): {only_tracked(str(table))}")


def _table(project: Path) -> Path:
    content: Any = read_yaml(project / PARAMS)
    try:
        return project / str(content["data"]["source"])
    except (KeyError, TypeError):
        return project  # what is wrong with its params, its own stages say
