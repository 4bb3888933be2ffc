"""What stages have taken: seconds and joules of the runs that MLflow has of them."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bonafide.project.console import say
from bonafide.project.errors import InputError
from bonafide.project.paths import PARAMS
from bonafide.project.yaml_files import read_yaml
from bonafide.tracking.record import ENERGY
from bonafide.tracking.store import tracking_uri

NEWEST = 20  # runs of a stage that are looked at


@dataclass(frozen=True)
class Past:
    """The finished runs of a stage, at most `NEWEST`."""

    seconds: list[float]
    """Of each, newest first."""
    joules: float | None
    """Of the newest that measured it."""

    @property
    def expected(self) -> float:
        """Seconds of a run like those before: their median."""
        return median(self.seconds)


def past_runs(stages: list[str]) -> dict[str, Past]:
    """What each stage took before, without those that never ran; nothing, and a line, where MLflow does not answer."""
    from mlflow import MlflowClient

    from bonafide.tracking.refusal import UNTOLD, why

    uri = tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return {}  # a client would make it
    try:
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(_experiment())
        found = {stage: _past(client, experiment.experiment_id, stage) for stage in stages} if experiment else {}
    except UNTOLD as error:
        say(f"warning: {why(error, uri)}: no times are known")
        return {}
    return {stage: past for stage, past in found.items() if past.seconds}


def _experiment() -> str:
    try:
        return str(read_yaml(PARAMS)["tracking"]["experiment"])
    except (KeyError, TypeError):
        raise InputError(f"{PARAMS}: tracking.experiment is missing") from None


def _past(client: Any, experiment: str, stage: str) -> Past:
    runs = client.search_runs(
        [experiment],
        f"tags.`bonafide.stage` = '{stage}' AND attributes.status = 'FINISHED'",
        max_results=NEWEST,
        order_by=["attributes.end_time DESC"],
    )
    joules = (run.data.metrics.get(ENERGY) for run in runs)
    seconds = [taken for run in runs if (taken := _seconds(run)) > 0]
    return Past(seconds, next((found for found in joules if found is not None), None))


def _seconds(run: Any) -> float:
    """From the start of the process that ended the run, which may have begun days before; 0 where it is not known."""
    started = run.data.tags.get("bonafide.process", "").rpartition(":")[2]
    return run.info.end_time / 1000 - float(started) if started else 0.0
