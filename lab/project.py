"""Which folder a command is for: the project that it was called in, be it from a folder far below its top."""

import os
from pathlib import Path

from bonafide import git
from bonafide.errors import InputError
from bonafide.lineage import GRAPH
from bonafide.paths import PARAMS

SHOWN = 3  # projects that are named


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
