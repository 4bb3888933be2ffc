"""Whether the installed libraries are those of a revision's requirements.lock and torch pin."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement

PINNED = re.compile(r"^[A-Za-z0-9][^\s=]*==[^\\\n]+", re.MULTILINE)


def differences(lock: str, project: str) -> dict[str, tuple[str, str]]:
    """Library to (locked version, installed version or "none"), of those that differ on this machine.

    `lock` is the text of requirements.lock, `project` that of pyproject.toml: torch stands there, since its own
    metadata chooses the CPU or CUDA build, whose local version (+cpu) is not compared.
    """
    found = {}
    for requirement in (*_locked(lock), *_pinned(project)):
        installed = _installed(requirement.name)
        if not installed or not requirement.specifier.contains(installed, prereleases=True):
            found[requirement.name] = (str(requirement.specifier).removeprefix("=="), installed or "none")
    return found


def _locked(lock: str) -> Iterator[Requirement]:
    for line in PINNED.findall(lock):
        requirement = Requirement(line.strip())
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def _pinned(project: str) -> Iterator[Requirement]:
    for text in tomllib.loads(project)["project"]["dependencies"]:
        requirement = Requirement(text)
        if str(requirement.specifier).startswith("=="):
            yield requirement


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
