"""Clones of the repository: the project lies in them where it lies here, and so does the `.dvc` that it uses."""

from pathlib import Path

from bonafide.project import git
from bonafide.project.folders import dvc_root


def clone(folder: Path, *options: str) -> Path:
    """Clone the repository or worktree we are in, without its files; return the project's folder in the clone."""
    git.run("clone", "--quiet", "--no-checkout", *options, str(git.top()), str(folder))
    project = folder / git.inside()
    project.mkdir(parents=True, exist_ok=True)
    return project


def dvc_folder(clone: Path) -> Path:
    """The `.dvc` of a clone that the project in it uses."""
    return clone / dvc_root(Path.cwd()).relative_to(git.top()) / ".dvc"


def configure(clone: Path, text: str) -> None:
    """Write the settings that DVC has in this clone alone."""
    folder = dvc_folder(clone)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.local").write_text(text, encoding="utf-8")


def quoted(path: Path | str) -> str:
    """A path as a value of DVC's settings, whatever signs are in it."""
    return f"'''{path}'''"
