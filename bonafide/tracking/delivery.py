"""Idempotent delivery of one record to MLflow, by several processes at once if need be, without duplicates.

A stage's execution is two runs: the *pipeline run*, which a person compares, and a *child* for this stage. Each is
found by a tag that holds a hash of its inputs, and created where there is none. MLflow has neither unique tags nor
transactions, so that
- a run has one writer, the process that its tag `bonafide.process` names; another that executes the very same stage at
  the same time (a *twin*) leaves the child to it;
- what twins both send of the pipeline run has the same timestamp in both: MLflow stores an equal point only once;
- of two runs that were created in the same moment for the same hash, the older stays and its maker deletes the other.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, LoggedModelOutput, LoggedModelStatus, Metric, Param, Run, RunTag

from bonafide.params.mlflow_names import model_name
from bonafide.project.files import md5
from bonafide.tracking.record import PROCESS, Point, Record
from bonafide.tracking.store import (
    PARENT,
    SEEN,
    connect,
    find,
    find_or_create,
    log_in_batches,
    mark_killed,
)

POINTS = 1000  # metrics per request; MLflow's limit


class Delivery:
    """One record's two runs, and which of their points MLflow has already."""

    def __init__(self, record: Record) -> None:
        """Find or make the pipeline run and the child run."""
        self.record = record
        self.client, self.experiment = connect(record.experiment)
        mark_killed(self.client, self.experiment)
        self.known: dict[tuple[str, str], set[int]] = {}  # (run id, metric) to the steps that MLflow has
        tags = record.tags | {"bonafide.pipeline_key": record.pipeline}
        self.pipeline, fresh = find_or_create(self.client, self.experiment, "bonafide.pipeline_key", record, tags)
        there = self.pipeline.data.params  # an outage may have cut them off
        lacking = [Param(key, value) for key, value in record.params.items() if key not in there]
        log_in_batches(self.client, self.pipeline.info.run_id, params=lacking)
        key = {"bonafide.stage_key": record.keys[record.stage], "bonafide.stage": record.stage}
        tags = record.tags | key | {PARENT: self.pipeline.info.run_id}
        self.child, new = find_or_create(self.client, self.experiment, "bonafide.stage_key", record, tags)
        self.made = [run.info.run_id for run, mine in ((self.pipeline, fresh), (self.child, new)) if mine]
        self._claim(self.pipeline, again=not record.past)
        if self._claim(self.child, again=False):  # of two pipeline runs another may have stayed since it was made
            self.client.set_tag(self.child.info.run_id, PARENT, self.pipeline.info.run_id)
        self.link()

    def _sign(self) -> list[RunTag]:
        """The tag by which others see that the writer is alive."""
        return [RunTag(SEEN, str(time.time_ns() // 1_000_000))]

    def _claim(self, run: Run, *, again: bool) -> bool:
        """Become the run's writer, and say whether that worked: not while another process writes it.

        A finished run is reopened only if `again`. A record of the past keeps what a live one has told.
        """
        now = self.client.get_run(run.info.run_id)
        if now.info.status == "RUNNING":
            return bool(now.data.tags.get(PROCESS) == self.record.tags[PROCESS])
        if now.info.status == "FINISHED" and not again:
            return False
        kept = now.data.tags.keys() - {PROCESS} if self.record.past else set()
        tags = [RunTag(key, value) for key, value in self.record.tags.items() if key not in kept]
        # signed before it is RUNNING: with its last writer's name, who is gone, others would end it
        log_in_batches(self.client, run.info.run_id, tags=[*tags, *self._sign()])
        self.client.update_run(run.info.run_id, status="RUNNING")
        return True

    def send_points(self) -> None:
        """Send the curves' new points, with the time at which they were measured, to both runs."""
        if self.record.points and self._claim(self.child, again=False):
            for run in (self.child, self.pipeline):
                self._send(run, self.record.points)

    def _send(self, run: Run, points: Sequence[Point]) -> None:
        run_id = run.info.run_id
        self._fetch_logged_steps(run_id, {point[0] for point in points})
        new = [point for point in points if point[3] not in self.known[run_id, point[0]]]
        for start in range(0, len(new), POINTS):
            part = new[start : start + POINTS]
            self.client.log_batch(run_id, metrics=[Metric(*point) for point in part], tags=self._sign())
            for key, _value, _time, step in part:
                self.known[run_id, key].add(step)

    def _fetch_logged_steps(self, run_id: str, keys: set[str]) -> None:
        """Fill `known` for the metrics `keys` of a run; asked once for each."""
        unknown = [key for key in keys if (run_id, key) not in self.known]
        there = self.client.get_run(run_id).data.metrics if unknown else {}
        for key in unknown:
            history = self.client.get_metric_history(run_id, key) if key in there else []
            self.known[run_id, key] = {point.step for point in history}

    def link(self) -> list[Run]:
        """Tag the pipeline run with the run that made each stage's outputs so far; return those runs.

        A stage is `executed` (a child of this pipeline run made it), `cached` (another's did) or `untracked`.
        """
        run_id = self.pipeline.info.run_id
        rows = ["| stage | status | run |", "|---|---|---|"]
        tags, all_makers = [], []
        for stage, key in self.record.keys.items():
            makers = find(self.client, self.experiment, "bonafide.stage_key", key)[:1]
            own = any(maker.data.tags.get(PARENT) == run_id for maker in makers)
            status = "executed" if own else "cached" if makers else "untracked"
            maker_id = makers[0].info.run_id if makers else "none"
            tags += [RunTag(f"stage.{stage}", status), RunTag(f"stage.{stage}.run", maker_id)]
            target = f"[{maker_id[:8]}](#/experiments/{self.experiment}/runs/{maker_id})" if makers else "none"
            rows.append(f"| {stage} | {status} | {target} |")
            all_makers += makers
        tags.append(RunTag("mlflow.note.content", "\n".join(rows)))
        log_in_batches(self.client, run_id, tags=tags)
        return all_makers

    def finish(self) -> bool:
        """Send what is left and end both runs; False while a twin writes the child: then deliver again later."""
        record = self.record
        if self._resolve_duplicate():
            return Delivery(record).finish()
        mark_killed(self.client, self.experiment)
        mine = self._claim(self.child, again=False)
        if mine:
            self.send_points()
            self._send_metrics(self.child, record.metrics)
            self._send_references()
            self._attach(self.child, record.attachments)
            self.client.set_terminated(self.child.info.run_id, record.status, record.ended)
        self._send_metrics(self.pipeline, record.headline)
        self._attach(self.pipeline, record.artifacts)
        for maker in self.link():
            if maker.info.status == "FINISHED" or maker.info.run_id == self.child.info.run_id:
                self._copy_from_cached(maker)
        if self._claim(self.pipeline, again=not record.past):
            self.client.set_terminated(self.pipeline.info.run_id, record.status, record.ended)
        return mine or self.client.get_run(self.child.info.run_id).info.status == "FINISHED"

    def _resolve_duplicate(self) -> bool:
        """Delete those of our runs for which an older one with the same hash exists; whether there is such a one.

        It may have been on its way to the server when `find_or_create` looked. A run of a twin's that we had found and
        that is deleted by now counts, too.
        """
        record = self.record
        tags = {"bonafide.pipeline_key": record.pipeline, "bonafide.stage_key": record.keys[record.stage]}
        oldest = [next(iter(find(self.client, self.experiment, tag, value)), None) for tag, value in tags.items()]
        pairs = zip((self.pipeline, self.child), oldest, strict=True)
        late = [(run, first) for run, first in pairs if first is None or first.info.run_id != run.info.run_id]
        for run, first in late:
            if run.info.run_id in self.made:
                self._replace(run, first)
        return bool(late)

    def _replace(self, run: Run, older: Run | None) -> None:
        """Delete a run, and give all of its children, other processes' among them, to the older one."""
        if older:
            for child in find(self.client, self.experiment, PARENT, run.info.run_id):
                self.client.set_tag(child.info.run_id, PARENT, older.info.run_id)
        self.client.delete_run(run.info.run_id)

    def _attach(self, run: Run, files: dict[str, str]) -> None:
        """Upload the files that still have the MD5 they had when the stage ended."""
        for path, digest in files.items():
            if Path(path).exists() and md5(Path(path)) == digest:
                self.client.log_artifact(run.info.run_id, path)

    def _send_metrics(self, run: Run, metrics: dict[str, float]) -> None:
        """Send new metrics at the run's start, a timestamp that twins share, and changed ones at the stage's end."""
        there = self.client.get_run(run.info.run_id).data.metrics
        start, end = run.info.start_time, self.record.ended or self.record.started
        new = [Metric(k, v, end if k in there else start, 0) for k, v in metrics.items() if there.get(k) != v]
        for first in range(0, len(new), POINTS):
            self.client.log_batch(run.info.run_id, metrics=new[first : first + POINTS])

    def _send_references(self) -> None:
        """Log the data sets that the stage has read, and the model that it has made, on the child."""
        datasets = [
            DatasetInput(Dataset(name=path, digest=digest[:36], source_type="dvc", source=json.dumps({"path": path})))
            for path, digest in self.record.inputs.items()
        ]
        self._refer(self.child, datasets, [self._model_id()] if self.record.model else [])

    def _copy_from_cached(self, maker: Run) -> None:
        """Copy curves, data sets and models of a stage's run, maybe of another pipeline's, to the pipeline run."""
        there = self.client.get_run(self.pipeline.info.run_id).data.metrics
        points: list[Point] = [
            (key, point.value, point.timestamp, point.step)
            for key, value in maker.data.metrics.items()
            if there.get(key) != value
            for point in self.client.get_metric_history(maker.info.run_id, key)
        ]
        self._send(self.pipeline, points)
        models = [output.model_id for output in maker.outputs.model_outputs] if maker.outputs else []
        self._refer(self.pipeline, maker.inputs.dataset_inputs if maker.inputs else [], models)

    def _refer(self, run: Run, datasets: Sequence[DatasetInput], models: Sequence[str]) -> None:
        """Log inputs and outputs that a run does not have yet; MLflow refuses the same output twice."""
        if datasets:
            self.client.log_inputs(run.info.run_id, datasets=datasets)
        outputs = self.client.get_run(run.info.run_id).outputs if models else None
        known = {output.model_id for output in outputs.model_outputs} if outputs else set()
        new = [LoggedModelOutput(model, step=0) for model in models if model not in known]
        if new:
            self.client.log_outputs(run.info.run_id, new)

    def _model_id(self) -> str:
        """The id of MLflow's record of the model, found by its MD5 or created; without bytes, which DVC keeps."""
        facts = self.record.model
        known = self.client.search_logged_models([self.experiment], f"tags.`dvc.md5` = '{facts['dvc.md5']}'")
        if known:
            return str(known[0].model_id)
        made = self.client.create_logged_model(
            self.experiment,
            name=model_name(self.record.experiment),
            source_run_id=self.child.info.run_id,
            tags=facts | {"mlflow.model.isExternal": "true"},
            model_type="classifier",
        )
        self.client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
        return str(made.model_id)
