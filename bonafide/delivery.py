"""One record on its way to MLflow, which may be delivered again and again without doubling anything."""

import json
from collections.abc import Iterable
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, LoggedModelOutput, LoggedModelStatus, Metric, Param, Run, RunTag

from bonafide.files import md5
from bonafide.runs import Record, connect, find, find_or_create, log_in_batches, mark_killed


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
