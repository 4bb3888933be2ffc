"""MLflow runs, found by content: a record of a stage may be delivered again and again without doubling anything.

A *pipeline run* is what a person compares; below it lies one child run per executed stage. Both are found by their key.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from bonafide.environment import is_gone
from bonafide.errors import InputError
from bonafide.files import md5

KIND = {"mlflow.experimentKind": "custom_model_development"}  # else the UI shows its GenAI side, without metrics
BATCH = 100  # params or tags per request; MLflow's limit


@dataclass
class Record:
    """What MLflow is to know of one execution of a stage; JSON-able, complete without MLflow."""

    experiment: str
    stage: str
    keys: dict[str, str]
    """Stage key of this stage and of each before it."""
    pipeline: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    started: int
    """Milliseconds since 1970, as all times here."""
    ended: int | None = None
    status: str = "RUNNING"
    points: list[tuple[str, float, int, int]] = field(default_factory=list)
    """Curves: (key, value, time, step)."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The stage's report."""
    headline: dict[str, float] = field(default_factory=dict)
    """The reports of all stages so far."""
    artifacts: dict[str, str] = field(default_factory=dict)
    """Path to MD5 of the files to attach to the pipeline run."""
    attachments: dict[str, str] = field(default_factory=dict)
    """The same for the stage's own run."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Path to MD5 of data sets that this stage reads, from dvc.lock."""
    model: dict[str, str] = field(default_factory=dict)
    """Facts of the model that this stage has made; DVC keeps its bytes."""


def root() -> Path:
    """The repository's root; of the real one also within `dvc exp run --temp`, whose folder is deleted."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def state() -> Path:
    """Where what is neither input nor out is kept: locks and undelivered records."""
    return root() / ".bonafide"


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else the repository's own sqlite file, absolute."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"


def connect(experiment: str) -> tuple[MlflowClient, str]:
    """A client and the experiment's id; schema and experiment are made once, under a lock.

    Three processes that make the sqlite schema at once all crash (reliability: alembic finds no row to update).
    """
    state().mkdir(exist_ok=True)
    with FileLock(state() / "mlflow.lock", timeout=60):
        client = MlflowClient(tracking_uri())
        found = client.get_experiment_by_name(experiment) or _create_experiment(client, experiment)
        if found is None or found.lifecycle_stage == "deleted":
            raise InputError(
                f"params.yaml: tracking.experiment: {experiment!r} was deleted in MLflow; restore or rename it"
            )
    return client, found.experiment_id


def _create_experiment(client: MlflowClient, name: str) -> Experiment | None:
    local = tracking_uri().startswith("sqlite:")
    location = (root() / "mlartifacts" / name).as_uri() if local else None
    try:
        client.create_experiment(name, artifact_location=location, tags=KIND)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    return client.get_experiment_by_name(name)


def find(client: MlflowClient, experiment: str, tag: str, value: str) -> list[Run]:
    """The runs with a tag, oldest first."""
    return list(client.search_runs([experiment], f"tags.`{tag}` = '{value}'", order_by=["attributes.start_time ASC"]))


def find_or_create(
    client: MlflowClient, experiment: str, tag: str, record: Record, tags: dict[str, str]
) -> tuple[Run, bool]:
    """The oldest run whose `tag` is as in `tags`, and whether it is new; one at a time within this repository."""
    with FileLock(state() / "runs.lock", timeout=60):
        found = find(client, experiment, tag, tags[tag])
        if found:
            return found[0], False
        name = record.stage if "mlflow.parentRunId" in tags else record.name
        return client.create_run(experiment, start_time=record.started, tags=tags, run_name=name), True


class Delivery:
    """One record on its way to MLflow: what has arrived is not sent again."""

    def __init__(self, record: Record) -> None:
        """Find or make the pipeline run and the child run."""
        self.record = record
        self.client, self.experiment = connect(record.experiment)
        mark_killed(self.client, self.experiment)
        tags = record.tags | {"bonafide.pipeline_key": record.pipeline}
        self.pipeline, fresh = find_or_create(self.client, self.experiment, "bonafide.pipeline_key", record, tags)
        key = {"bonafide.stage_key": record.keys[record.stage], "bonafide.stage": record.stage}
        parent = {"mlflow.parentRunId": self.pipeline.info.run_id}
        child_tags = record.tags | key | parent
        self.child, new = find_or_create(self.client, self.experiment, "bonafide.stage_key", record, child_tags)
        self.known = set() if new else set(self._known_points())
        if fresh:
            log_in_batches(
                self.client, self.pipeline.info.run_id, params=[Param(k, v) for k, v in record.params.items()]
            )
        for run in (self.pipeline, self.child):
            self.client.update_run(run.info.run_id, status="RUNNING")
            log_in_batches(self.client, run.info.run_id, tags=[RunTag(k, v) for k, v in record.tags.items()])
        self.link()

    def _known_points(self) -> Iterable[tuple[str, int]]:
        for key in self.child.data.metrics:
            for point in self.client.get_metric_history(self.child.info.run_id, key):
                yield key, point.step

    def send_points(self) -> None:
        """Send the curves' points that are not there yet, with the time at which they were measured."""
        new = [p for p in self.record.points if (p[0], p[3]) not in self.known]
        for start in range(0, len(new), 1000):
            self.client.log_batch(self.child.info.run_id, metrics=[Metric(*p) for p in new[start : start + 1000]])
        self.known |= {(p[0], p[3]) for p in new}

    def link(self) -> None:
        """Say on the pipeline run, for each stage so far, which run has made its bytes."""
        run_id = self.pipeline.info.run_id
        rows = ["| stage | status | run |", "|---|---|---|"]
        tags = []
        for stage, key in self.record.keys.items():
            makers = find(self.client, self.experiment, "bonafide.stage_key", key)
            maker = makers[0] if makers else None
            own = maker is not None and maker.data.tags.get("mlflow.parentRunId") == run_id
            status = "executed" if own else "cached" if maker else "untracked"
            maker_id = maker.info.run_id if maker else ""
            tags += [RunTag(f"stage.{stage}", status), RunTag(f"stage.{stage}.run", maker_id or "none")]
            target = f"[{maker_id[:8]}](#/experiments/{self.experiment}/runs/{maker_id})" if maker else "none"
            rows.append(f"| {stage} | {status} | {target} |")
        tags.append(RunTag("mlflow.note.content", "\n".join(rows)))
        log_in_batches(self.client, run_id, tags=tags)

    def finish(self) -> None:
        """Send what is left and end both runs."""
        record = self.record
        self.send_points()
        self._send_metrics(self.child, record.metrics)
        self._send_metrics(self.pipeline, record.headline)
        self._send_references()
        for run, files in ((self.pipeline, record.artifacts), (self.child, record.attachments)):
            for path, digest in files.items():
                if Path(path).exists() and md5(Path(path)) == digest:
                    self.client.log_artifact(run.info.run_id, path)
        for run in (self.child, self.pipeline):
            self.client.set_terminated(run.info.run_id, record.status, record.ended)

    def _send_metrics(self, run: Run, metrics: dict[str, float]) -> None:
        there = self.client.get_run(run.info.run_id).data.metrics
        when = self.record.ended or self.record.started
        new = [Metric(key, value, when, 0) for key, value in metrics.items() if there.get(key) != value]
        for start in range(0, len(new), 1000):
            self.client.log_batch(run.info.run_id, metrics=new[start : start + 1000])

    def _send_references(self) -> None:
        datasets = [
            DatasetInput(Dataset(name=path, digest=digest[:36], source_type="dvc", source=json.dumps({"path": path})))
            for path, digest in self.record.inputs.items()
        ]
        for run in (self.child, self.pipeline):
            if datasets:
                self.client.log_inputs(run.info.run_id, datasets=datasets)
            if self.record.model:
                self._refer(run, self._model_id())

    def _refer(self, run: Run, model_id: str) -> None:
        outputs = self.client.get_run(run.info.run_id).outputs
        known = {output.model_id for output in outputs.model_outputs} if outputs else set()
        if model_id not in known:  # a second reference is an error
            self.client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step=0)])

    def _model_id(self) -> str:
        """The id of a model record without bytes, one per model: DVC keeps those."""
        facts = self.record.model
        known = self.client.search_logged_models([self.experiment], f"tags.`dvc.md5` = '{facts['dvc.md5']}'")
        if known:
            return str(known[0].model_id)
        made = self.client.create_logged_model(
            self.experiment,
            name=self.record.experiment,
            source_run_id=self.child.info.run_id,
            tags=facts | {"mlflow.model.isExternal": "true"},
            model_type="classifier",
        )
        self.client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
        return str(made.model_id)


def log_in_batches(
    client: MlflowClient, run_id: str, params: Sequence[Param] = (), tags: Sequence[RunTag] = ()
) -> None:
    """Log params and tags, at most `BATCH` a request."""
    for start in range(0, max(len(params), len(tags)), BATCH):
        part = slice(start, start + BATCH)
        client.log_batch(run_id, params=params[part], tags=tags[part])


def mark_killed(client: MlflowClient, experiment: str) -> None:
    """End the runs whose process is gone: `kill -9` leaves them RUNNING for ever."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        process = run.data.tags.get("bonafide.process")
        if process and is_gone(process):
            client.set_terminated(run.info.run_id, "KILLED")
