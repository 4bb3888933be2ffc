"""A sweep in MLflow: one run of its own with mean, spread and the best, and a tag on each of its members.

Members are not made its children: a pipeline run can belong to several sweeps, and may be one that was there before.
"""

from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from bonafide.project.dvc_lock import locked_key
from bonafide.provenance.revisions import JUDGED, Revision
from bonafide.reporting.markdown import code, prose
from bonafide.tracking.store import connect, find, log_in_batches

Facts = dict[str, Any]
SWEEP = "sweep"
LONGEST = 80  # characters of what was asked for, in a run's name


def file_sweep(experiment: str, facts: Facts, commits: dict[str, str], when: int) -> str:
    """Tell MLflow of a sweep's results, again and again if need be, and return the run's id.

    `commits` are the DVC experiments of its finished trials. `when` is in milliseconds since 1970.
    """
    client, experiment_id = connect(experiment)
    name = facts["sweep"]
    there = find(client, experiment_id, "bonafide.sweep", name)
    tags = {"bonafide.sweep": name, "git.commit": facts["commit"]}
    run = there[0] if there else client.create_run(experiment_id, when, tags, run_name=_title(facts))
    run_id = str(run.info.run_id)
    members = {trial: _member(client, experiment_id, trial, commit) for trial, commit in commits.items()}
    for member in filter(None, members.values()):
        _join(client, member, name)
    asked = [Param(f"sweep.{key}", str(value)) for key, value in facts["wanted"].items()]
    log_in_batches(client, run_id, asked, [RunTag("mlflow.note.content", note(facts, members))])
    client.log_batch(run_id, metrics=[metric for metric in _metrics(facts, when) if _is_new(run, metric)])
    client.log_dict(run_id, facts, "sweep.json")
    done = len(commits) == len(facts["trials"])
    client.set_terminated(run_id, "FINISHED" if done else "FAILED", when)
    return run_id


def _title(facts: Facts) -> str:
    """What was varied comes first: a list may show no more."""
    asked = [_short(setting) for setting in facts["wanted"]["set"]]
    shape = f"{len(facts['grid'])} x {facts['wanted']['seeds']} seeds"
    return f"{' '.join(asked)[:LONGEST]} {shape} sweep-{facts['sweep']}".strip()


def _short(setting: str) -> str:
    """`learning_rate=1e-4,2e-4` of `train.learning_rate=1e-4,2e-4`."""
    key, _, values = setting.partition("=")
    return f"{key.rpartition('.')[2]}={values}"


def _member(client: MlflowClient, experiment_id: str, trial: str, commit: str) -> Run | None:
    """The pipeline run of a trial: its own, or, where DVC had all its bytes, the one that made the evaluation."""
    own = [r for r in find(client, experiment_id, "dvc.experiment", trial) if "mlflow.parentRunId" not in r.data.tags]
    entry = Revision(trial, commit).lock().get(JUDGED)
    makers = find(client, experiment_id, "bonafide.stage_key", locked_key(entry)) if entry and not own else []
    return own[0] if own else client.get_run(makers[0].data.tags["mlflow.parentRunId"]) if makers else None


def _join(client: MlflowClient, member: Run, name: str) -> None:
    """Add the sweep to the member's tag, which the run list can be filtered by: tags.sweep LIKE '%...%'."""
    names = set(filter(None, member.data.tags.get(SWEEP, "").split(", ")))
    if name not in names:
        client.set_tag(member.info.run_id, SWEEP, ", ".join(sorted(names | {name})))


def _metrics(facts: Facts, when: int) -> list[Metric]:
    """The best cell's means under the names that its members have, so that the run list compares them."""
    best = facts["best"] or {"validation": None, "test": {}}
    spreads = {**({facts["metric"]: best["validation"]} if best["validation"] else {}), **best["test"]}
    means = {key: value["mean"] for key, value in spreads.items()}
    deviations = {f"{key}/sd": value["sd"] for key, value in spreads.items() if value["sd"] is not None}
    return [Metric(key, value, when, 0) for key, value in (means | deviations).items()]


def _is_new(run: Run, metric: Metric) -> bool:
    return bool(run.data.metrics.get(metric.key) != metric.value)


def note(facts: Facts, members: dict[str, Run | None]) -> str:
    """What MLflow shows on the run's page."""
    lines = [f"Chosen by {prose(facts['metric'])}, mean over seeds; the interval is Student's, of the mean.", ""]
    lines += ["| params | seeds | mean | sd | interval |", "|---|---:|---:|---:|---|"]
    for row in facts["grid"]:
        chosen = facts["best"] is not None and row["params"] == facts["best"]["params"]
        cells = [" ".join(code(text) for text in row["params"]) or "as committed", *numbers(row)]
        lines.append("| " + " | ".join(f"**{cell}**" if chosen else cell for cell in cells) + " |")
    lines.append("")
    for trial in facts["trials"]:
        run = members.get(trial["experiment"])
        link = (
            f"[{run.info.run_id[:8]}](#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})" if run else "none"
        )
        lines.append(f"- {code(trial['experiment'])} {code(' '.join(trial['params']))}: {trial['status']}, run {link}")
    return "\n".join(lines)


def numbers(row: Facts) -> list[str]:
    """Seeds, mean, standard deviation and interval of a cell of the grid, for people."""
    found = row["validation"]
    if found is None:
        return ["0", "–", "–", "–"]
    spread = ["–", "–"] if found["sd"] is None else [f"{found['sd']:.4f}", f"{found['low']:.4f} to {found['high']:.4f}"]
    return [f"{found['n']}" + ("" if row["complete"] else " (incomplete)"), f"{found['mean']:.4f}", *spread]
