"""Folders: the project's, DVC's, and where what is neither input nor out is kept."""

import os
from pathlib import Path

from bonafide.project import git
from bonafide.project.dvc_lock import GRAPH
from bonafide.project.errors import InputError
from bonafide.project.paths import PARAMS

SHOWN = 3  # projects that are named


def dvc_root(folder: Path) -> Path:
    """The folder whose `.dvc` DVC uses in `folder`: it or one above it; `folder` itself where there is none."""
    return next((above for above in (folder, *folder.parents) if (above / ".dvc").is_dir()), folder)


def root() -> Path:
    """The project's folder, where its runs and locks are; that of the real one also in a copy that is thrown away.

    One is that of `dvc exp run --temp`: DVC names its own root to the stages that it runs, which is the project's
    folder or lies above it. The other is a recipe's, for which the Makefile sets BONAFIDE_ROOT.
    """
    here = Path.cwd()
    own = Path(os.environ.get("DVC_ROOT", dvc_root(here))).resolve() / here.relative_to(dvc_root(here))
    return Path(os.environ.get("BONAFIDE_ROOT", own))


def only_tracked(source: str) -> str:
    """Why a file is not where a commit is run again, and what helps."""
    return f"only what git or DVC has goes with a commit: git add {source}, or dvc add {source}, and commit"


def left_behind(source: str) -> str:
    """What to add to a message that a file is not here: in a temporary experiment it may be with the user only."""
    return f"; {only_tracked(source)}" if Path.cwd() != root() and (root() / source).exists() else ""


def state() -> Path:
    """Where what is neither input nor out is kept: locks and undelivered records."""
    return root() / ".bonafide"


def enter() -> None:
    """Go to the project's folder; raise InputError that names the projects there are where we are in none."""
    here = Path.cwd()
    found = next((folder for folder in (here, *here.parents) if is_project(folder)), None)
    if found is None:
        below = [folder for folder in _folders(here) if is_project(folder)]
        named = ", or ".join(f"cd {folder}" for folder in below[:SHOWN])
        raise InputError(f"no project ({PARAMS} and {GRAPH}) here or above{f'; try: {named}' if named else ''}")
    os.chdir(found)


def is_project(folder: Path) -> bool:
    """Whether stages run in this folder."""
    return (folder / PARAMS).is_file() and (folder / GRAPH).is_file()


def _folders(here: Path) -> list[Path]:
    """The folders with a committed graph of this repository, as one gets there from here."""
    listed = git.ask("ls-files", "--full-name", "--", f":(top,glob)**/{GRAPH}").splitlines()
    top = git.top() if listed else here
    return [Path(os.path.relpath((top / path).parent, here)) for path in listed]
