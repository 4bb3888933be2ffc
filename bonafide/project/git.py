"""git, asked from a folder that may lie anywhere in a repository, in a worktree of one too.

A project is a folder with params.yaml and dvc.yaml; its repository may hold more. Paths here are the project's own,
relative to the folder we are in, so that nothing elsewhere in the repository counts.
"""

import os
import subprocess
from pathlib import Path

# Names in any script come as they are, not as octal numbers in quotation marks.
GIT = ("git", "-c", "core.quotePath=off")
LED_ASTRAY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")  # as git sets them for its hooks


def run(*arguments: str, folder: Path = Path()) -> str:
    """What git prints, without the line end; raise OSError with git's own reason."""
    done = _run(arguments, folder)
    if done.returncode:
        reason = " ".join(_text(done.stderr).split()).removeprefix("fatal: ") or f"exit code {done.returncode}"
        raise OSError(f"git {arguments[0]}: {reason}")
    return _text(done.stdout).rstrip("\n")


def ask(*arguments: str, folder: Path = Path()) -> str:
    """What git prints, without the line end, or "" where it says no or is not there."""
    try:
        return run(*arguments, folder=folder)
    except OSError:
        return ""


def show(commit: str, path: Path, folder: Path = Path()) -> bytes | None:
    """A file of the project as git has it at `commit`; None where it has none."""
    done = _run(("show", f"{commit}:./{path.as_posix()}"), folder)
    return done.stdout if done.returncode == 0 else None


def top() -> Path:
    """The repository's top, or the worktree's; raise OSError where we are in none."""
    return Path(run("rev-parse", "--show-toplevel"))


def inside() -> Path:
    """The folder we are in, relative to `top`; raise OSError where we are in no repository."""
    return Path(run("rev-parse", "--show-prefix"))


def _run(arguments: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if name not in LED_ASTRAY}
    env = os.environ if folder == Path() else kept  # another folder is another repository
    return subprocess.run([*GIT, *arguments], cwd=folder, env=env, capture_output=True, check=False)


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")
