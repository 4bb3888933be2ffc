"""Whether two runs of a stage had the same environment, by what MLflow has of them."""

from pathlib import Path

from bonafide.project.console import say

Environment = dict[str, str]  # fact to value: python, cpu, threads, libraries


def environment_of(uri: str, tag: str, value: str) -> Environment | None:
    """The environment of the newest run with a tag in a tracking store; None where it has none, or is not there."""
    from mlflow import MlflowClient

    from bonafide.tracking.refusal import UNTOLD, why

    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return None  # a client would make it
    try:
        client = MlflowClient(uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, f"tags.`{tag}` = '{value}'", order_by=["attributes.start_time DESC"])
    except UNTOLD as error:
        say(f"warning: {why(error, uri)}")
        return None
    found = [run.data.tags["environment.facts"] for run in runs if "environment.facts" in run.data.tags]
    return dict(fact.split(" ", 1) for fact in found[0].split(", ")) if found else None


def explain(before: Environment | None, now: Environment | None) -> str:
    """One sentence: whether the environment can be why bytes differ."""
    if before is None or now is None:
        return "Whether the environment explains it is unknown: the run that made these bytes is not in MLflow here."
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if not changed:
        return "The environment does not explain it: it is the same (libraries, processor, threads)."
    shown = ", ".join(f"{key} {before.get(key, 'none')} → {now.get(key, 'none')}" for key in changed)
    return f"The environment may explain it: {shown}."
