"""MLflow runs, found by content: a *pipeline run*, which a person compares, and a child for each executed stage."""

import json
import os
import socket
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from sqlalchemy import NullPool, create_engine

from bonafide.params.mlflow_names import folder_name
from bonafide.project.errors import InputError
from bonafide.project.folders import root, state
from bonafide.project.process import is_gone
from bonafide.tracking.record import PROCESS, Record
from bonafide.tracking.refusal import UNTOLD, redacted, why

KIND = {"mlflow.experimentKind": "custom_model_development"}  # else the UI shows its GenAI side, without metrics
VIEW = (
    "mlflow.sharedViewState.bonafide"  # the columns of .../runs?viewStateShareKey=bonafide; MLflow's own hide metrics
)
COLUMNS = [
    "attributes.`Created`",
    "attributes.`Dataset`",
    *(f"metrics.`{key}`" for key in ("test/f1_macro", "validation/f1_macro", "report/verdict_difference")),
    *(f"params.`{key}`" for key in ("train.learning_rate", "train.epochs", "seed")),
]
BATCH = 100  # params or tags per request; MLflow's limit
PARENT = "mlflow.parentRunId"
SEEN = "bonafide.seen"  # tag: when the process that writes a run last did
SILENCE = 24 * 3600 * 1000  # milliseconds until a run of another host, of whose processes nothing is known, is given up
DATABASE_SECONDS = 5  # for a database server to answer


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else the repository's own sqlite file, absolute."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"


def connect(experiment: str) -> tuple[MlflowClient, str]:
    """A client and the experiment's id; schema and experiment are made once, under a lock.

    Three processes that make the sqlite schema at once all crash (reliability: alembic finds no row to update).
    """
    state().mkdir(exist_ok=True)
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is a command's answer
    with _alone():
        _knock()
        client = MlflowClient(tracking_uri())
        found = client.get_experiment_by_name(experiment) or _create_experiment(client, experiment)
        if found is None or found.lifecycle_stage == "deleted":
            restore = f"mlflow experiments restore --experiment-id {found.experiment_id if found else 'ID'}"
            raise InputError(
                f"the experiment {experiment!r} is deleted; {restore}, or params.yaml: tracking.experiment: another"
            )
        if VIEW not in found.tags:
            client.set_experiment_tag(found.experiment_id, VIEW, json.dumps({"selectedColumns": COLUMNS}))
    return client, found.experiment_id


def _alone() -> AbstractContextManager[object]:
    """A lock on the first use: of an sqlite file, which repositories may share, beside it.

    A server makes its schema itself, and does not keep others waiting when it hangs.
    """
    scheme, _, path = tracking_uri().partition("://")
    if scheme.startswith("http"):
        return nullcontext()
    return FileLock(f"{path[1:]}.lock" if scheme == "sqlite" else state() / "mlflow.lock", timeout=60)


def _knock() -> None:
    """Raise SQLAlchemyError at once where a database server refuses: MLflow itself would ask it again for 100 s."""
    uri = tracking_uri()
    if uri.startswith(("postgresql", "mysql")):
        engine = create_engine(uri, poolclass=NullPool, connect_args={"connect_timeout": DATABASE_SECONDS})
        engine.connect().close()


def _create_experiment(client: MlflowClient, name: str) -> Experiment | None:
    local = not tracking_uri().startswith("http")  # a server has its own place
    location = (root() / "mlartifacts" / folder_name(name)).as_uri() if local else None
    try:
        client.create_experiment(name, artifact_location=location, tags=KIND)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    return client.get_experiment_by_name(name)


def stage_key(run_id: str, stage: str) -> str:
    """The key of the `stage` that a pipeline run, or a child of one, rests on.

    Raise InputError where there is none, ConnectionError where MLflow does not say.
    """
    missing = InputError(f"{run_id}: no MLflow run with a tracked {stage} at {redacted(tracking_uri())}")
    try:
        client = MlflowClient(tracking_uri())
        tags = client.get_run(run_id).data.tags
        while PARENT in tags:
            tags = client.get_run(tags[PARENT]).data.tags
        return str(client.get_run(tags[f"stage.{stage}.run"]).data.tags["bonafide.stage_key"])
    except KeyError:
        raise missing from None
    except UNTOLD as error:
        if getattr(error, "error_code", "") == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise missing from None
        raise ConnectionError(why(error, tracking_uri())) from None


def find(client: MlflowClient, experiment: str, tag: str, value: str) -> list[Run]:
    """The runs with a tag, oldest first; among those of one age by id, so that all processes agree which is first."""
    found = client.search_runs([experiment], f"tags.`{tag}` = '{value}'")
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


def find_or_create(
    client: MlflowClient, experiment: str, tag: str, record: Record, tags: dict[str, str]
) -> tuple[Run, bool]:
    """The oldest run whose `tag` is as in `tags`, and whether it is new.

    A lock keeps the processes of this repository apart. Another repository's may make such a run in the same moment:
    then the older one stays and the other is deleted by who made it. MLflow has no way to make a run only if absent.
    """
    with FileLock(state() / "runs.lock", timeout=60):
        found = find(client, experiment, tag, tags[tag])
        if found:
            return found[0], False
        name = f"{record.stage} {record.name}" if PARENT in tags else record.name
        seen = {SEEN: str(time.time_ns() // 1_000_000)}
        made = client.create_run(experiment, start_time=record.started, tags=tags | seen, run_name=name)
        oldest = find(client, experiment, tag, tags[tag])[0]
        if oldest.info.run_id != made.info.run_id:
            client.delete_run(made.info.run_id)
        return oldest, oldest.info.run_id == made.info.run_id


def log_in_batches(
    client: MlflowClient, run_id: str, params: Sequence[Param] = (), tags: Sequence[RunTag] = ()
) -> None:
    """Log params and tags, at most `BATCH` a request."""
    for start in range(0, max(len(params), len(tags)), BATCH):
        part = slice(start, start + BATCH)
        client.log_batch(run_id, params=params[part], tags=tags[part])


def mark_killed(client: MlflowClient, experiment: str) -> None:
    """End the runs whose process is gone: `kill -9` leaves them RUNNING for ever.

    The process may have ended its run and then itself since MLflow was asked, so a run is looked at again once its
    process is known to be gone: nobody else ends it.
    """
    for listed in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        if _is_orphan(listed):
            run = client.get_run(listed.info.run_id)
            if run.info.status == "RUNNING" and _is_orphan(run):
                client.set_terminated(run.info.run_id, "KILLED")


def _is_orphan(run: Run) -> bool:
    """Whether nobody writes the run any more."""
    process = run.data.tags.get(PROCESS, "")
    return bool(process) and (is_gone(process) or _is_silent(run, process))


def _is_silent(run: Run, process: str) -> bool:
    """Whether another host's run has not been written for so long that its host, a container say, will be gone.

    One that is alive after all takes its run back when it next writes.
    """
    if process.startswith(f"{socket.gethostname()}:"):
        return False
    return time.time_ns() // 1_000_000 - int(run.data.tags.get(SEEN, run.info.start_time)) > SILENCE
