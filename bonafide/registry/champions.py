"""MLflow's registry: which version of a model is the champion, which were before it, and who said so.

The alias `champion` is what MLflow's tools resolve. The registered model's tag has every champion in order, so that an
alias that was moved by hand is known for one, and a rollback knows where to.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bonafide.params.mlflow_names import model_name
from bonafide.project import git
from bonafide.project.errors import InputError

Facts = dict[str, Any]

ALIAS = "champion"
HISTORY = "lab.champions"  # where it has been kept from the first promotion on
IDENTITY, SEAL, COMMIT = "bonafide.identity", "bonafide.files", "bonafide.commit"
WEIGHTS = "weights.sha256"
EXTERNAL = "mlflow.model.isExternal"  # a record without bytes
KEPT = 1000  # champions in the history; a tag takes 100,000 characters


class Registry:
    """One registered model."""

    def __init__(self, client: Any, experiment: str, name: str) -> None:
        """`experiment` is the id of the one in which models without a run are filed."""
        self.client, self.experiment, self.name = client, experiment, name

    def champion(self) -> Any:
        """The version with the alias, or None."""
        return _found(lambda: self.client.get_model_version_by_alias(self.name, ALIAS))

    def history(self) -> list[str]:
        """The versions that were champion, the present one last."""
        model = _found(lambda: self.client.get_registered_model(self.name))
        return [str(version) for version in json.loads(model.tags.get(HISTORY, "[]"))] if model else []

    def version(self, number: str) -> Any:
        """A version, or None."""
        return _found(lambda: self.client.get_model_version(self.name, number))

    def location(self, number: str) -> str:
        """Where the files of a version are; not `models:/`, with which MLflow adds one of its own."""
        return str(self.client.get_model_version_download_uri(self.name, number))

    def crown(self, history: list[str]) -> None:
        """Make the last of `history` the champion. The alias is what counts, so it comes last."""
        self.client.set_registered_model_tag(self.name, HISTORY, json.dumps(history[-KEPT:]))
        self.client.set_registered_model_alias(self.name, ALIAS, history[-1])

    def tag(self, number: str, tags: Mapping[str, str]) -> None:
        """Set a version's tags."""
        for key, value in tags.items():
            self.client.set_model_version_tag(self.name, number, key, value)

    def known(self, identity: str) -> Any:
        """The version with a package of this identity, or None; one that has it under another name gets one here."""
        found = self.client.search_model_versions(f"tags.`{IDENTITY}` = '{identity}'")
        found = sorted(found, key=lambda version: (version.name != self.name, int(version.version)))
        if not found or found[0].name == self.name:
            return found[0] if found else None
        tags = {key: found[0].tags[key] for key in (IDENTITY, SEAL, WEIGHTS)}
        return self._create(found[0].source, found[0].run_id, tags)

    def register(self, folder: Path, md5: str, tags: Mapping[str, str]) -> Any:
        """Copy a package into MLflow, once, and make it a version."""
        model = self._model_with_bytes(folder, md5, tags[IDENTITY])
        return self._create(f"models:/{model.model_id}", model.source_run_id, tags)

    def _create(self, source: str, run_id: str | None, tags: Mapping[str, str]) -> Any:
        if _found(lambda: self.client.get_registered_model(self.name)) is None:
            self.client.create_registered_model(self.name)
        return self.client.create_model_version(
            self.name, source, run_id, dict(tags), model_id=source.rpartition("/")[2]
        )

    def _model_with_bytes(self, folder: Path, md5: str, identity: str) -> Any:
        """MLflow's record of the model, now with its bytes: the one that training left (tracking.delivery), if any.

        A promotion that was killed here leaves a record without a version, and the next one writes over it.
        """
        known = self.client.search_logged_models([self.experiment], f"tags.`dvc.md5` = '{md5}'")
        free = [
            model
            for model in known
            if model.tags.get(IDENTITY, "" if EXTERNAL in model.tags else None) in ("", identity)
        ]
        facts = {"dvc.md5": md5}
        model = (
            free[0]
            if free
            else self.client.create_logged_model(self.experiment, name=model_name(self.name), tags=facts)
        )
        self.client.set_logged_model_tags(model.model_id, {IDENTITY: identity})
        self.client.log_model_artifacts(model.model_id, str(folder))
        if EXTERNAL in model.tags:
            self.client.delete_logged_model_tag(model.model_id, EXTERNAL)
        self.client.finalize_logged_model(model.model_id, "READY")
        return model


def _found(look: Any) -> Any:
    """What a look-up returns, or None where MLflow says that there is nothing."""
    from mlflow.exceptions import MlflowException

    try:
        return look()
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # the latter: no such alias
            return None
        raise


@contextmanager
def open_registry(experiment: str, name: str) -> Iterator[Registry]:
    """The registry for the body; where MLflow does not answer or refuses, ConnectionError in one line."""
    import mlflow

    from bonafide.tracking.refusal import MLFLOW, why
    from bonafide.tracking.store import connect, tracking_uri

    try:
        mlflow.set_tracking_uri(tracking_uri())  # MLflow resolves models:/ with this one, whatever the client's is
        yield Registry(*connect(experiment), name)
    except MLFLOW as error:
        raise ConnectionError(why(error, tracking_uri())) from None


def acknowledged(registry: Registry) -> Any:
    """The champion, if `bonafide promote` or `rollback` made it one; else raise InputError."""
    version, history = registry.champion(), registry.history()
    if version is None:
        raise InputError(f"{registry.name}: no version is the champion: bonafide promote RUN")
    if not history or history[-1] != str(version.version) or not {SEAL, COMMIT} <= version.tags.keys():
        raise InputError(
            f"{registry.name}: version {version.version} has the alias {ALIAS!r}, but no promotion gave it:"
            " bonafide promote RUN, or bonafide rollback"
        )
    return version


def rollback(registry: Registry, reason: str) -> Facts:
    """Make the champion before this one the champion again, and record it on the one that leaves."""
    history = registry.history()
    if len(history) < 2:
        raise InputError(f"{registry.name}: no champion before this one")
    left, back = history[-1], history[-2]
    if registry.version(back) is None:
        raise InputError(f"{registry.name}: version {back} was the champion before, and is deleted")
    registry.tag(left, {"rollback.to": back, "rollback.why": reason or "not said", **signed("rollback")})
    registry.crown(history[:-1])
    return {"model": registry.name, "version": back, "left": left, "reason": reason}


def signed(act: str) -> dict[str, str]:
    """Who does something, and when, as tags."""
    name = git.ask("config", "user.name").strip() or "unknown"
    return {f"{act}.by": name, f"{act}.at": datetime.now(UTC).isoformat(timespec="seconds")}
