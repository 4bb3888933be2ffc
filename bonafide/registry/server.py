"""The champion behind HTTP: a copy of its own, checked before anything of it is run, then MLflow's server.

MLflow's server would run what its artifact store has by then, and whoever reaches a tracking server without
authentication can replace what is there. So the store's files are copied, the copy is checked, and the copy is served.
"""

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock

from bonafide.project.errors import InputError
from bonafide.project.folders import state
from bonafide.provenance.revisions import resolve
from bonafide.registry import mlflow_package
from bonafide.registry.champions import COMMIT, SEAL, Registry, acknowledged

Facts = dict[str, Any]

SETTINGS = {
    "UVICORN_LOOP": "bonafide.registry.serving.dynamic_batching:event_loop",
    "PYTHONDONTWRITEBYTECODE": "1",  # the folder stays as it was checked
}
HOST = "127.0.0.1"  # it has neither passwords nor TLS; put a proxy that has them in front


def prepare(registry: Registry) -> tuple[Path, Facts]:
    """A checked copy of the champion, and what it is; raise InputError unless a promotion stands behind every byte."""
    version = acknowledged(registry)
    number, sealed = str(version.version), json.loads(version.tags[SEAL])
    folder = state() / "served" / number
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(state() / "served.lock", timeout=60):
        if not folder.exists() or mlflow_package.seal(folder) != sealed:
            copy(registry.location(number), folder)
        mlflow_package.check(folder, sealed)
        mlflow_package.check_model_bytes(commit_of(version), folder)
    return folder, {"model": registry.name, "version": number, "commit": version.tags[COMMIT]}


def copy(location: str, folder: Path) -> None:
    """Download a package into `folder`, and remove those of other versions."""
    from mlflow.artifacts import download_artifacts

    shutil.rmtree(folder.parent)
    new = folder.parent / "new"
    new.mkdir(parents=True)
    Path(download_artifacts(artifact_uri=location, dst_path=str(new))).rename(folder)
    shutil.rmtree(new, ignore_errors=True)  # the package was a folder in it, or it itself


def commit_of(version: Any) -> Any:
    """The revision that was promoted: its dvc.lock is out of the registry's reach."""
    try:
        return resolve(version.tags[COMMIT])
    except InputError:
        raise InputError(
            f"version {version.version} is of commit {version.tags[COMMIT]:.12}, which is not here: git fetch"
        ) from None


def check_port(port: int) -> None:
    """Raise OSError where the port is taken."""
    socket.create_server((HOST, port)).close()


def serve(folder: Path, port: int) -> NoReturn:
    """Become `mlflow models serve` on a checked folder."""
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )  # it looks for uvicorn
    where = ["--host", HOST, "--port", str(port), "--env-manager", "local"]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder), *where]
    os.execve(sys.executable, command, os.environ | SETTINGS | {"PATH": path})  # noqa: S606 - a list, and no shell
