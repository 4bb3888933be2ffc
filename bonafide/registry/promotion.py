"""From a run to the champion: a gate of thresholds, a verdict against the present champion, and whole bytes."""

import hashlib
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import TypeAdapter

from bonafide.evaluation import predictions
from bonafide.params.sections import Params
from bonafide.project.errors import InputError
from bonafide.project.folders import state
from bonafide.project.paths import PREDICTIONS, REPORTS, VALIDATED
from bonafide.protocol import MODEL_SYSTEM, Metric, Score, load
from bonafide.provenance.revisions import Revision, resolve, show
from bonafide.registry import mlflow_package
from bonafide.registry.champions import COMMIT, IDENTITY, SEAL, WEIGHTS, Registry, signed
from bonafide.registry.serving.predictor import DRIFT, Predictor
from bonafide.registry.serving.predictor import load as load_predictor

Facts = dict[str, Any]

EVALUATE = "evaluate"
METRICS = REPORTS / f"{EVALUATE}.json"
JUDGED = "test"
READ = 256  # test rows that the packaged model must answer as evaluate did, some 3 s on 2 cores


@dataclass(frozen=True)
class Candidate:
    """What is to become the champion."""

    revision: Revision
    metrics: Mapping[str, float]
    md5: str
    """Of models/model/, as its dvc.lock has it."""
    identity: str
    """Of the model and of how it is used."""


def find(name: str) -> Candidate:
    """The candidate of a commit, experiment or run; raise InputError where no commit holds it."""
    revision = committed(resolve(name))
    try:
        metrics = TypeAdapter(dict[str, float]).validate_json(revision.read(METRICS))
    except ValueError:
        raise InputError(f"{name}: {METRICS} does not hold metrics") from None
    md5 = mlflow_package.locked_model(revision)
    return Candidate(revision, metrics, md5, mlflow_package.identity(md5, mlflow_package.settings(revision)))


def committed(revision: Revision) -> Revision:
    """The same as a commit: of a run that is the workspace's too, the last one. A champion must be found again."""
    if revision.commit:
        return revision
    head = resolve("HEAD")
    if head.lock().get(EVALUATE) != revision.lock().get(EVALUATE):
        raise InputError(
            f"{revision.name}: its dvc.lock is not committed, and a champion must be found again: commit it"
        )
    return Revision(revision.name, head.commit)


def promote(name: str, params: Params, registry: Registry, forced: str = "") -> Facts:
    """Make a revision's model the champion if the gate holds, or for the reason `forced`; say what came of it.

    `promoted`, `reasons` against it, `verdict`, `version`, `previous`, `metrics`; raise InputError where there is no
    whole model to promote.
    """
    candidate = find(name)
    state().mkdir(exist_ok=True)
    with FileLock(state() / "promote.lock", timeout=60), tempfile.TemporaryDirectory(dir=state()) as folder:
        champion, history = registry.champion(), registry.history()
        facts: Facts = {"model": registry.name, "revision": name, "commit": candidate.revision.commit}
        if champion and champion.tags.get(IDENTITY) == candidate.identity and history[-1:] == [str(champion.version)]:
            return facts | {"promoted": True, "version": history[-1], "verdict": "the champion already", "reasons": []}
        model = load_predictor(
            mlflow_package.fetch_model(candidate.revision, Path(folder)), mlflow_package.settings(candidate.revision)
        )
        facts |= judge(candidate, champion, model, params)
        facts |= {"promoted": bool(forced) or not facts["reasons"], "forced": forced or None}
        facts["previous"] = history[-1] if history else None
        if not facts["promoted"]:
            return facts
        version = registry.known(candidate.identity) or enter(registry, candidate, model, Path(folder))
        facts["version"] = str(version.version)
        registry.tag(facts["version"], record(facts))
        registry.crown([*history, facts["version"]])
        return facts


def judge(candidate: Candidate, champion: Any, model: Predictor, params: Params) -> Facts:
    """The gate: the verdict in a sentence, the metrics that are asked for, and every reason not to promote."""
    verdict, doubts = against(champion, candidate, params)
    minimum = params.promote.minimum
    reasons = [
        *missed(candidate.metrics, minimum, load(params.task.name, Score).METRICS),
        *doubts,
        *broken(candidate.revision),
        *unlike(model, candidate.revision),
    ]
    return {"verdict": verdict, "metrics": {name: candidate.metrics.get(name) for name in minimum}, "reasons": reasons}


def enter(registry: Registry, candidate: Candidate, model: Predictor, folder: Path) -> Any:
    """A new version of the package in `folder`."""
    sealed = mlflow_package.complete(folder, model)
    weights = [digest for name, digest in sealed.items() if name.endswith(".safetensors")]
    tags = {IDENTITY: candidate.identity, SEAL: json.dumps(sealed), WEIGHTS: " ".join(weights)}
    return registry.register(folder, candidate.md5, tags)


def record(facts: Facts) -> dict[str, str]:
    """Why a version became the champion, as its tags."""
    return {
        COMMIT: facts["commit"],
        "promotion.of": facts["revision"],
        "promotion.verdict": facts["verdict"] or "none",
        "promotion.forced": facts["forced"] or "no",
        "promotion.against": "\n".join(facts["reasons"]) or "nothing",
        "promotion.previous": facts["previous"] or "none",
        **{metric: str(value) for metric, value in facts["metrics"].items() if value is not None},
        **signed("promotion"),
    }


def missed(metrics: Mapping[str, float], bounds: Mapping[str, float], known: Sequence[Metric]) -> list[str]:
    """Metrics (`test/f1_macro`) that are not there, or worse than their bounds."""
    lower = {metric.name for metric in known if not metric.higher_is_better}
    reasons = []
    for name, bound in bounds.items():
        value, sign = metrics.get(name), -1 if name.rpartition("/")[2] in lower else 1
        if value is None:
            reasons.append(f"{name} is not in {METRICS}")
        elif not sign * value >= sign * bound:  # NaN is not, either
            reasons.append(f"{name} is {value:.4g}, {'below' if sign > 0 else 'above'} {bound:.4g}")
    return reasons


def against(champion: Any, candidate: Candidate, params: Params) -> tuple[str, list[str]]:
    """The verdict against the present champion in a sentence, and what of it the policy does not accept."""
    from bonafide.comparison.compare import compare

    if champion is None:
        return "the first champion", []
    try:
        found = compare(resolve(champion.tags.get(COMMIT, "")), candidate.revision, params.compare)
    except InputError as error:
        return "", [f"no verdict against the champion, version {champion.version}: {error}"]
    verdict, sentence = found["verdict"]["outcome"], found["verdict"]["sentence"]
    refused = [] if verdict in params.promote.verdicts else [sentence]
    return sentence, list(dict.fromkeys(refused + found["gate"]["reasons"]))


def broken(revision: Revision) -> list[str]:
    """Outputs whose bytes, in git or in DVC's cache, are not those that the revision's dvc.lock names; all are read."""
    from dvc.repo import Repo

    from bonafide.provenance.hashes import Out, hash_files

    with Repo() as repo:
        cache = Path(repo.cache.local.path)
    reasons = []
    for stage, entry in revision.lock().items():
        for recorded in entry.get("outs", []):
            out = Out(Path(recorded["path"]), recorded["md5"], stage, kept=True, cache=cache)
            text = show(revision.commit, out.path)
            if text is None:
                found = hash_files(out.objects, lambda _done, _all: None)
                bad = [path for path, promised in out.objects.items() if found.get(path) != promised]
                reasons += [f"{out.path}: {path} is {altered(path)}" for path in bad[:1]]
            elif hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() != out.md5:
                reasons.append(f"{out.path}: git has other bytes than dvc.lock names")
    return reasons


def altered(path: Path) -> str:
    """What is wrong with an object of DVC's cache."""
    return "altered" if path.exists() else "not there: dvc fetch"


def unlike(model: Predictor, revision: Revision) -> list[str]:
    """Whether the packaged model, which reads rows as they come, gives evaluate's outputs on test rows."""
    import pyarrow.parquet as pq

    path, target = VALIDATED / f"{JUDGED}.parquet", load(model.config["task"], Score).TARGET
    table = pq.read_table(io.BytesIO(revision.read(path)))
    judged = predictions.read(io.BytesIO(revision.read(PREDICTIONS)), target)[JUDGED]
    if table["id"].to_pylist() != judged.ids:
        return [f"{PREDICTIONS} has other rows than {path}"]
    moved = model.drift(table.slice(0, READ).to_pylist(), judged.systems[MODEL_SYSTEM][:READ])
    return [] if moved <= DRIFT else [f"its outputs on test rows are not evaluate's: they differ by {moved:.2g}"]
