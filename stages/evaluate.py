"""Evaluate: measure the model and its baselines on every split but train, and say whether the model adds anything.

in   data/tokenized/       arrays, from tokenize
     data/validated/       rows, groups and slice columns, from validate
     models/model/         from train
     models/base/          from fetch, for baselines
out  reports/evaluate/     predictions.parquet: every system's outputs (bonafide.evaluation.predictions)
                           rows.parquet: each row's slices and a hash of its inputs (bonafide.evaluation.row_facts)
                           evaluation.json: metrics with intervals, comparisons, slices, panels, verdict
                           scatter.csv: the first scatter plot of the model on test
     reports/evaluate.json metrics
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from bonafide.datasets import ragged
from bonafide.datasets.ragged import LEADING
from bonafide.evaluation import predictions, row_facts
from bonafide.evaluation.estimates import Sums, sum_up
from bonafide.evaluation.paired_tests import Difference
from bonafide.evaluation.panels import quotes
from bonafide.evaluation.predictions import Predictions, to_numpy
from bonafide.evaluation.slices import Slice, cut
from bonafide.evaluation.split_summary import differences, summarise, summarise_slice
from bonafide.evaluation.verdict import judge
from bonafide.params.sections import Params, slice_columns
from bonafide.project.arrays import Metrics
from bonafide.project.errors import InputError
from bonafide.project.files import write_csv, write_json
from bonafide.project.paths import EVALUATION, MODEL, PREDICTIONS, ROWS, TOKENIZED, VALIDATED
from bonafide.project.randomness import generator
from bonafide.protocol import MODEL_SYSTEM, Baselines, Model, Panels, Score, Split, System, load
from bonafide.stage import run_stage

Facts = dict[str, Any]

JUDGED = "test"
SCATTER = PREDICTIONS.with_name("scatter.csv")


def evaluate(params: Params) -> Metrics:
    """Predict with every system, store that, and measure what was stored."""
    target = load(params.task.name, Score).TARGET
    inputs = [name for name in params.task.columns if name != target] or [target]
    splits = {name: read_split(name, params) for name in ragged.read_splits(TOKENIZED)}
    with threadpool_limits(params.threads):
        predictions.write(PREDICTIONS, target, predict(splits, params))
        stored = predictions.read(PREDICTIONS, target)
        slices = {name: cut_up(splits[name], params) for name in stored}
        evaluation = measure(params, splits, stored, slices)
    write_json(EVALUATION, evaluation)
    row_facts.write(ROWS, {name: facts_of(name, splits[name], inputs, slices[name]) for name in stored})
    write_scatter(evaluation["splits"][JUDGED]["panels"])
    return flatten(evaluation)


def read_split(name: str, params: Params) -> Split:
    """A split's validated rows and its arrays; raise InputError where they are not of the same rows."""
    path, examples = VALIDATED / f"{name}.parquet", ragged.read(TOKENIZED / name)
    images = {column for column, kind in params.task.columns.items() if kind == "image"}  # the arrays have their pixels
    table = pq.read_table(path, columns=[column for column in pq.read_schema(path).names if column not in images])
    if table["id"].to_pylist() != examples["ids"].tolist():
        raise InputError(f"{path}: holds other rows than {TOKENIZED / name}: run dvc repro")
    return Split(table, examples, shown=name == JUDGED)


def predict(splits: Mapping[str, Split], params: Params) -> dict[str, Predictions]:
    """What every system says of every row, split by split."""
    task, target = load(params.task.name, Model), load(params.task.name, Score).TARGET
    model = task.load(MODEL)
    evaluated = {name: split for name, split in splits.items() if name != "train"}
    ours = {name: task.predict(model, split.examples) for name, split in evaluated.items()}
    systems = {MODEL_SYSTEM: ours, **load(params.task.name, Baselines).predict(splits, params)}
    return {
        name: Predictions(
            ids=split.table["id"].to_pylist(),
            groups=split.table["group"].to_pylist(),
            targets=to_numpy(split.table[target]),
            systems={system: outputs[name] for system, outputs in systems.items()},
        )
        for name, split in evaluated.items()
    }


def cut_up(split: Split, params: Params) -> list[Slice]:
    """The slices of a split: by the user's columns, and by what the task knows of its rows."""
    chosen = slice_columns(params.data.slices, params.task.columns).values()
    return cut(split.table, [*chosen], load(params.task.name, Panels).slices(split))


def facts_of(name: str, split: Split, inputs: list[str], slices: list[Slice]) -> pa.Table:
    """What rows.parquet has of a split."""
    hashes = row_facts.fingerprints(VALIDATED / f"{name}.parquet", inputs)
    return row_facts.table(split.table["id"].to_pylist(), hashes, slices)


def measure(
    params: Params, splits: Mapping[str, Split], stored: Mapping[str, Predictions], slices: Mapping[str, list[Slice]]
) -> Facts:
    """All of evaluation.json."""
    score, baselines = load(params.task.name, Score), load(params.task.name, Baselines)
    ladder = [system for system in baselines.BASELINES if system.name in stored[JUDGED].systems]
    sums = {name: sum_split(params, name, found) for name, found in stored.items()}
    metrics = partial(score.metrics, settings=score.settings(params))
    against = {name: differences(name, sums[name], score, metrics, params.seed) for name in stored}
    facts = {}
    for name, found in stored.items():
        model = sums[name][MODEL_SYSTEM]
        panels = load(params.task.name, Panels).panels(splits[name], found.systems[MODEL_SYSTEM], model, params)
        facts[name] = {
            **summarise(found, sums[name], against[name], score, metrics),
            "held_out": name not in LEADING,
            "slices": [
                summarise_slice(
                    piece, found, model, score, metrics, generator(params.seed, name, piece.column, piece.value)
                )
                | {"small": len(piece.rows) < params.evaluate.min_slice_rows}
                for piece in slices[name]
            ],
            "panels": [panel for panel in panels if splits[name].shown or not quotes(panel)],
        }
    return {
        "task": params.task.name,
        "settings": score.settings(params),
        "metrics": [metric._asdict() for metric in score.METRICS],
        "rate": score.RATE,
        "systems": [system._asdict() for system in (System(MODEL_SYSTEM, "the model", "training it"), *ladder)],
        "splits": facts,
        "verdict": decide(score, against[JUDGED], ladder[0], stored[JUDGED].groups, params),
    }


def decide(
    score: Score, against: Mapping[str, Difference], reference: System, groups: list[str], params: Params
) -> Facts:
    """The verdict; raise InputError where the primary metric is not defined on the rows that decide."""
    primary = score.METRICS[0]
    if reference.name not in against:
        raise InputError(f"{JUDGED}: no row on which the {primary.words} of the model and {reference.words} is defined")
    return judge(primary, JUDGED, against[reference.name], reference, groups, params.evaluate.margin)


def sum_split(params: Params, name: str, found: Predictions) -> dict[str, Sums]:
    """The sums of every system on a split, and of resamples of its groups."""
    score = load(params.task.name, Score)
    settings = score.settings(params)
    rows = {system: score.row_sums(found.targets, out, settings) for system, out in found.systems.items()}
    return sum_up(rows, found.groups, params.evaluate.bootstrap_samples, generator(params.seed, name))


def write_scatter(panels: list[Facts]) -> None:
    """The first scatter plot as a table for `dvc plots`."""
    points: list[Facts] = next((panel["points"] for panel in panels if panel["kind"] == "scatter"), [])
    write_csv(SCATTER, ("x", "y"), [(point["x"], point["y"]) for point in points])


def flatten(evaluation: Facts) -> Metrics:
    """`<split>/<metric>` of the model; `<split>/<baseline>/<metric>` of the primary metric and the rate."""
    flat: Metrics = {}
    short = [evaluation["metrics"][0]["name"], evaluation["rate"]]
    for split, facts in evaluation["splits"].items():
        for system, metrics in facts["systems"].items():
            prefix, shown = (split, metrics) if system == MODEL_SYSTEM else (f"{split}/{system}", short)
            values = {f"{prefix}/{metric}": metrics[metric]["value"] for metric in shown if metric}
            flat |= {name: value for name, value in values.items() if value is not None}
    return flat


if __name__ == "__main__":
    run_stage(evaluate)
