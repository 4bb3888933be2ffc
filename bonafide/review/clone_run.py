"""Two commits run with one recipe, in a clone of their own: the checkout that it is made from stays as it is.

Both use the cache of the checkout, so that what one has made the other does not make again, nor does the next trial.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bonafide.project import git
from bonafide.project.errors import InputError
from bonafide.project.paths import PARAMS
from bonafide.provenance import clone as clones
from bonafide.provenance import committed_files

AUTHOR = ("-c", "user.name=Bonafide", "-c", "user.email=bonafide@localhost", "-c", "commit.gpgsign=false")


def clone(folder: Path) -> Path:
    """Make `folder` a clone of the repository we are in, with the same DVC cache; return the project's folder in it."""
    shutil.rmtree(folder, ignore_errors=True)
    project = clones.clone(folder, "--shared")
    clones.configure(folder, f"[cache]\n    dir = {clones.quoted(_output(*committed_files.DVC, 'cache', 'dir'))}\n")
    return project


def run(folder: Path, name: str, commit: str, recipe: Path) -> str:
    """Run `commit` in a clone's project with its own `recipe` as params.yaml; return the commit of what came of it.

    Raise InputError where it has no such recipe or a stage fails, whose output goes to standard error.
    """
    git.run("checkout", "--quiet", "--force", "--detach", commit, folder=folder)
    if not (folder / recipe).is_file():
        raise InputError(f"{name}: has no {recipe}")
    if recipe != PARAMS:
        shutil.copyfile(folder / recipe, folder / PARAMS)
    committed_files.bring(folder, name)
    if subprocess.run(
        [*committed_files.DVC, "repro"], cwd=folder, stdout=2, env=_environment(), check=False
    ).returncode:
        raise InputError(f"{name}: the pipeline fails on {recipe}")
    git.run("add", "--all", folder=folder)
    git.run(*AUTHOR, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", f"Run {recipe}", folder=folder)
    return git.run("rev-parse", "HEAD", folder=folder)


def _environment() -> dict[str, str]:
    """With our own Python as `python`, by which dvc.yaml calls its stages."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _output(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command[:3])}: exit code {done.returncode}")
    return done.stdout.strip()
