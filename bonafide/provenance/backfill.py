"""Bring MLflow up to date: what it missed while it did not answer, and finished runs that it has never seen.

A dvc.lock has all that a run's keys are made of, so what is filled in here and what a live run tells are the same
runs. The reports have the figures and the curves. The true times and the environment are gone: the time of the commit
stands for them, and the tag `bonafide.source` says so.
"""

import csv
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from bonafide.project import dvc_lock, git
from bonafide.project.environment import git_state
from bonafide.project.errors import InputError
from bonafide.project.files import md5, write_bytes
from bonafide.project.folders import state
from bonafide.project.paths import HISTORY, PARAMS, REPORTS
from bonafide.project.yaml_files import parse_yaml
from bonafide.provenance.revisions import Revision, in_repository, show
from bonafide.tracking import origin, spool
from bonafide.tracking.delivery import Delivery
from bonafide.tracking.record import PAGES, PROCESS, WEIGHTS, Point, Record, refer
from bonafide.tracking.refusal import MLFLOW, why
from bonafide.tracking.store import connect, find, tracking_uri

Facts = dict[str, Any]
WAIT = 600  # seconds for another `bonafide sync`


@dataclass
class Answer:
    """What a sync has done; revisions by name."""

    delivered: int = 0
    """Records of stages that MLflow had missed."""
    waiting: int = 0
    """Records that still wait: MLflow refuses them, or another process is at work on the same stage."""
    filled: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    """MLflow had all of it."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why a revision cannot be filled in."""


def synchronize(revisions: Sequence[Revision]) -> Answer:
    """Deliver what waits, then fill in the revisions; one process at a time. ConnectionError if MLflow is away."""
    answer = Answer()
    state().mkdir(exist_ok=True)
    try:
        with FileLock(state() / "sync.lock", timeout=WAIT):
            answer.delivered = spool.replay(timeout=WAIT)
            answer.waiting = len(spool.waiting())
            for revision in revisions:
                _note(answer, revision)
    except MLFLOW as error:
        raise ConnectionError(why(error, tracking_uri())) from None
    return answer


def _note(answer: Answer, revision: Revision) -> None:
    try:
        (answer.filled if fill(revision) else answer.there).append(revision.name)
    except InputError as error:
        answer.refused[revision.name] = str(error).removeprefix(f"{revision.name}: ")


def all_revisions() -> list[Revision]:
    """Every commit, of branches, tags and DVC experiments, that has changed dvc.lock, oldest first."""
    commits = git.ask("log", "--all", "--reverse", "--format=%H", "--", str(dvc_lock.GRAPH_LOCK)).split()
    locked = [commit for commit in commits if show(commit, dvc_lock.GRAPH_LOCK) is not None]
    return [Revision(_experiment(commit) or commit[:7], commit) for commit in locked]


def fill(revision: Revision) -> bool:
    """Tell MLflow of a revision's finished run; return whether anything was missing.

    Raise InputError where dvc.lock is of no finished run, or its reports are not to be had.
    """
    lock = finished(revision)
    try:
        experiment = str(revision.params()["tracking"]["experiment"])
    except (KeyError, TypeError):
        raise InputError(f"{revision.name}: {PARAMS} names no tracking.experiment") from None
    if is_there(experiment, revision, lock):
        return False
    with tempfile.TemporaryDirectory() as folder:
        for record in list(records(experiment, revision, lock, Path(folder))):
            Delivery(record).finish()
    return True


def finished(revision: Revision) -> dict[str, Facts]:
    """The stages of the revision's dvc.lock in the order of its dvc.yaml; InputError if they are not of one run."""
    graph, lock = show(revision.commit, dvc_lock.GRAPH), revision.lock()
    if graph is None or not lock:
        raise InputError(f"{revision.name}: has no {dvc_lock.GRAPH if graph is None else dvc_lock.GRAPH_LOCK}")
    names = list(parse_yaml(graph, f"{revision.name}:{dvc_lock.GRAPH}")["stages"])
    missing = [name for name in names if name not in lock]
    if missing:
        raise InputError(f"{revision.name}: its pipeline has not run to its end; {missing[0]} is missing")
    lock = {name: lock[name] for name in names}
    path = dvc_lock.conflict(lock)
    if path:
        raise InputError(f"{revision.name}: its dvc.lock is of two runs, stages disagree on {path}; run: dvc repro")
    return lock


def is_there(experiment: str, revision: Revision, lock: dict[str, Facts]) -> bool:
    """Whether MLflow has the pipeline run and the run of each of its stages, all finished."""
    client, experiment_id = connect(experiment)
    run = next(iter(find(client, experiment_id, "bonafide.pipeline_key", dvc_lock.locked_pipeline_key(lock))), None)
    if run is None:
        return False
    tags = run.data.tags
    if run.info.status == "RUNNING":
        raise InputError(f"{revision.name}: is being run now ({tags.get(PROCESS)}); try again when it has ended")
    keys = {stage: dvc_lock.locked_key(entry) for stage, entry in lock.items()}
    makers = {stage: find(client, experiment_id, "bonafide.stage_key", key)[:1] for stage, key in keys.items()}
    linked = all(
        made and made[0].info.status == "FINISHED" and tags.get(f"stage.{stage}.run") == made[0].info.run_id
        for stage, made in makers.items()
    )
    return linked and run.info.status == "FINISHED"


def records(experiment: str, revision: Revision, lock: dict[str, Facts], folder: Path) -> Iterator[Record]:
    """What each stage would have told MLflow while it ran, in order; pages are written to `folder`."""
    made = dvc_lock.locked_outs(lock)
    pipeline, when = dvc_lock.locked_pipeline_key(lock), _time(revision)
    params = origin.flat_params(_overlaid(revision.params(), dvc_lock.locked_params(lock)))
    name, tags = _origin(revision, params)
    keys: dict[str, str] = {}
    headline: dict[str, float] = {}
    for stage, entry in lock.items():
        keys[stage] = dvc_lock.locked_key(entry)
        metrics = json.loads(_content(revision, REPORTS / f"{stage}.json", made))
        headline |= metrics
        record = Record(experiment, stage, dict(keys), pipeline, name, params, tags, started=when, past=True)
        record.status, record.ended, record.metrics, record.headline = "FINISHED", when, metrics, dict(headline)
        refer(record, made)
        if stage == "train":
            record.points = curves(_content(revision, HISTORY, made).decode(), when)
            record.model |= _weights(revision)
        for page in PAGES.get(stage, ()):
            content = _content(revision, page, made)
            write_bytes(folder / page.name, content)
            record.artifacts[str(folder / page.name)] = md5(folder / page.name)
        yield record


def curves(history: str, when: int) -> list[Point]:
    """The points of a history.csv by the names that training gives its curves; those of speed are not in it."""
    return [
        (f"train/{column}", float(value), when, int(row["step"]))
        for row in csv.DictReader(io.StringIO(history))
        for column, value in row.items()
        if value and column not in ("step", "epoch")
    ]


def _content(revision: Revision, path: Path, made: dict[str, str]) -> bytes:
    """A file that dvc.lock vouches for; in the workspace it may have been changed since."""
    text = show(revision.commit, path) if path.suffix == ".json" else None  # in git: much faster than by DVC
    content = revision.read(path) if text is None else text.encode()
    known = made.get(path.as_posix())
    if known:
        same = hashlib.md5(content, usedforsecurity=False).hexdigest() == known
    else:
        same = bool(revision.commit) or md5(path.parent) == made.get(path.parent.as_posix())
    if not same:
        raise InputError(f"{revision.name}: {path} is not what its dvc.lock says; run: dvc repro")
    return content


def _weights(revision: Revision) -> dict[str, str]:
    """The weights' MD5, where DVC knows what is in the model's folder."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    try:
        place = in_repository(WEIGHTS) if revision.commit else WEIGHTS.as_posix()
        found = DVCFileSystem(rev=revision.commit or None, subrepos=True).info(place).get("md5")
    except (DvcException, DataIndexDirError, OSError):
        found = None
    return {"model.md5": found} if found else {}


def _overlaid(params: Facts, locked: Facts) -> Facts:
    """The params with what the lock says of them: the file may have been changed since the run."""
    for dotted, value in locked.items():
        *sections, key = dotted.split(".")
        inner = params
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    return params


def _origin(revision: Revision, params: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The name of a revision's run, and the tags that a live run would have had and that are still known."""
    head = git_state()
    commit, is_dirty = revision.commit or head["commit"], not revision.commit and head["dirty"] == "true"
    experiment = _experiment(revision.commit) if revision.commit else ""
    subject = "" if experiment else git.ask("log", "-1", "--format=%s", commit, "--")
    text = show(f"{revision.commit}^" if revision.commit else "HEAD", PARAMS)
    before = origin.flat_params(parse_yaml(text, f"{commit}^:{PARAMS}") or {}) if text else params
    base = experiment or (commit[:7] or "uncommitted") + ("+" if is_dirty else "")
    tags = origin.source_tags(commit, dirty=is_dirty, experiment=experiment) | {"bonafide.source": "sync"}
    return origin.run_name(base, params, before, subject), tags


def _time(revision: Revision) -> int:
    """Milliseconds since 1970 of the commit, or of the workspace's dvc.lock."""
    if not revision.commit:
        return dvc_lock.GRAPH_LOCK.stat().st_mtime_ns // 1_000_000
    return int(git.run("log", "-1", "--format=%ct", revision.commit, "--")) * 1000


def _experiment(commit: str) -> str:
    """The name of the DVC experiment that is a commit, or ""."""
    refs = git.ask("for-each-ref", "--format=%(refname)", f"--points-at={commit}", "refs/exps")
    found = re.search(r"^refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)$", refs, re.MULTILINE)
    return found[1] if found else ""
