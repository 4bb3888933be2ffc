"""Where a run comes from: what it is called, its params, its commit and who ran it, in MLflow's words."""

import getpass
import os
from contextlib import suppress
from typing import Any

from bonafide.project import git
from bonafide.project.console import printable
from bonafide.project.environment import flatten
from bonafide.project.errors import InputError
from bonafide.project.paths import PARAMS
from bonafide.project.process import process_id
from bonafide.project.yaml_files import parse_yaml
from bonafide.tracking.record import PROCESS

LONGEST_NAME = 120  # characters of a run's name; PostgreSQL has room for 250
MAX_PARAM = 6000  # characters; MLflow refuses more


def flat_params(raw: dict[str, Any]) -> dict[str, str]:
    """Params as MLflow takes them: `train.learning_rate` to text."""
    return {key: value[:MAX_PARAM] for key, value in flatten(raw).items()}


def run_name(base: str, params: dict[str, str], before: dict[str, str], subject: str) -> str:
    """A name that tells runs apart where a list shows its start: what was changed, else the commit's subject; `base`.

    `base` is the experiment's name or the commit's hash. The seed comes after what seeds are repetitions of.
    """
    keys = sorted((key for key, value in params.items() if before.get(key) != value), key=lambda key: key == "seed")
    changed = [f"{key.rpartition('.')[2]}={params[key][:40]}" for key in keys]
    more = [f"and {len(changed) - 3} more"] if len(changed) > 3 else []
    what = printable(" ".join(changed[:3] + more or [subject]))
    return f"{what[: LONGEST_NAME - len(base)]} {printable(base)}".strip()


def committed_params() -> dict[str, str]:
    """The params of the last commit, or none."""
    content = git.show("HEAD", PARAMS) or b""
    with suppress(InputError):  # what is committed may be what the user has just mended
        return flat_params(parse_yaml(content.decode("utf-8", "replace"), f"HEAD:{PARAMS}") or {})
    return {}


def user() -> str:
    """Who runs this, by number where the system has no name for it, as in many a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def source_tags(commit: str, *, dirty: bool, experiment: str) -> dict[str, str]:
    """Where a run comes from, also in the words that MLflow's own columns show."""
    return {
        "git.commit": commit or "none",
        "git.dirty": str(dirty).lower(),
        "dvc.experiment": experiment or "none",
        PROCESS: process_id(os.getpid()),
        "mlflow.source.git.commit": commit,
        "mlflow.source.name": "dvc.yaml",
        "mlflow.source.type": "PROJECT",
        "mlflow.user": user(),
    }
