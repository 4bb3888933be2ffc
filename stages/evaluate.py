"""Evaluate: measure the model and its baselines on every split but train, and say whether the model adds anything.

in   data/tokenized/       arrays, processor and labels, from tokenize
     data/validated/       texts, groups and slice columns, from validate
     models/model/         from train
     models/base/          the shell, from fetch
out  reports/evaluate/     predictions.parquet: every system's probabilities (bonafide.evaluation.predictions)
                           evaluation.json: metrics with intervals, comparisons, slices, errors, verdict
                           confusion.csv, calibration.csv: the model on test, to plot
     reports/evaluate.json metrics
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from bonafide.datasets import ragged
from bonafide.datasets.ragged import LEADING, Tokens
from bonafide.evaluation import predictions
from bonafide.evaluation.estimates import sum_up
from bonafide.evaluation.predictions import Predictions
from bonafide.evaluation.slices import cut
from bonafide.evaluation.split_summary import describe, describe_slice, worst_errors
from bonafide.evaluation.verdict import judge
from bonafide.params.sections import Params, slice_columns
from bonafide.project.arrays import Metrics
from bonafide.project.errors import InputError
from bonafide.project.files import read_json, write_csv, write_json
from bonafide.project.paths import EVALUATION, PREDICTIONS, TOKENIZED, VALIDATED
from bonafide.project.randomness import generator
from bonafide.protocol import Score, load
from bonafide.stage import run_stage
from bonafide.tasks.classification import systems

Facts = dict[str, Any]

JUDGED = "test"
SHORT = ("accuracy", "f1_macro")  # the baselines' metrics in reports/evaluate.json; evaluation.json has all
CONFUSION, CALIBRATION = PREDICTIONS.with_name("confusion.csv"), PREDICTIONS.with_name("calibration.csv")


def evaluate(params: Params) -> Metrics:
    """Predict with every system, store the probabilities, and measure what was stored."""
    task = load(params.task.name, Score)
    labels: list[str] = read_json(TOKENIZED / "labels.json")
    tokens = {split: ragged.read_tokens(TOKENIZED / split) for split in ragged.read_splits(TOKENIZED)}
    tables = {split: read_table(split, found) for split, found in tokens.items()}
    with threadpool_limits(params.threads):
        predictions.write(PREDICTIONS, labels, predict(tokens, tables, len(labels)))
        stored = predictions.read(PREDICTIONS, labels)
        evaluation = measure(params, task, labels, stored, tokens, tables)
    write_json(EVALUATION, evaluation)
    write_plots(stored[JUDGED], labels, evaluation["splits"][JUDGED]["calibration"])
    return flatten(evaluation)


def read_table(split: str, tokens: Tokens) -> pa.Table:
    """A split's validated rows; raise InputError where they are not the tokenized ones."""
    path = VALIDATED / f"{split}.parquet"
    table = pq.read_table(path)
    if table["id"].to_pylist() != tokens.ids.tolist():
        raise InputError(f"{path}: holds other rows than {TOKENIZED / split}: run dvc repro")
    return table


def predict(tokens: Mapping[str, Tokens], tables: Mapping[str, pa.Table], classes: int) -> dict[str, Predictions]:
    """Every system's probabilities, split by split."""
    texts = {split: table["text"].to_pylist() for split, table in tables.items()}
    found = systems.predict(tokens, texts, classes)
    return {
        split: Predictions(
            ids=tables[split]["id"].to_pylist(),
            groups=tables[split]["group"].to_pylist(),
            labels=tokens[split].labels,
            systems={system: by_split[split] for system, by_split in found.items()},
        )
        for split in tokens
        if split != "train"
    }


def measure(
    params: Params,
    task: Any,
    labels: Sequence[str],
    stored: Mapping[str, Predictions],
    tokens: Mapping[str, Tokens],
    tables: Mapping[str, pa.Table],
) -> Facts:
    """All of evaluation.json."""
    (primary, direction), seed, chosen = task.PRIMARY_METRIC, params.seed, params.evaluate
    sums = {
        split: sum_up(found, chosen.calibration_bins, chosen.bootstrap_samples, generator(seed, split))
        for split, found in stored.items()
    }
    facts: dict[str, Facts] = {}
    for split, found in stored.items():
        table = tables[split]
        pieces = cut(table, [*slice_columns(params.data.slices, ("text", "label")).values()], tokens[split].lengths)
        facts[split] = describe(split, found, sums[split], labels, primary, chosen.calibration_bins, seed)
        facts[split]["held_out"] = split not in LEADING
        facts[split]["slices"] = [describe_slice(p, sums[split]["model"], chosen.min_slice_rows) for p in pieces]
        facts[split]["errors"] = worst_errors(found, table["text"], labels) if split == JUDGED else []
    judged, sign = sums[JUDGED], 1 if direction == "max" else -1
    compared = facts[JUDGED]["comparisons"]["shell"]
    return {
        "primary": primary,
        "labels": list(labels),
        "systems": list(judged),
        "headline": list(facts[JUDGED]["systems"]["model"]),
        "splits": facts,
        "verdict": judge(JUDGED, compared, judged["model"], judged["shell"], chosen.margin, sign),
    }


def write_plots(judged: Predictions, labels: Sequence[str], calibration: Sequence[Facts]) -> None:
    """Tables for `dvc plots`: label and prediction of each test row by name, and the calibration bins."""
    predicted = judged.systems["model"].argmax(axis=1)
    names = ((labels[label], labels[prediction]) for label, prediction in zip(judged.labels, predicted, strict=True))
    write_csv(CONFUSION, ("label", "prediction"), names)
    columns = ("confidence", "accuracy", "rows")
    write_csv(CALIBRATION, columns, [[row[column] for column in columns] for row in calibration])


def flatten(evaluation: Facts) -> Metrics:
    """`<split>/<metric>` of the model and `<split>/<baseline>/<metric>` of the baselines."""
    flat: Metrics = {}
    for split, facts in evaluation["splits"].items():
        for system, metrics in facts["systems"].items():
            prefix = split if system == "model" else f"{split}/{system}"
            shown = metrics if system == "model" else SHORT
            flat |= {f"{prefix}/{metric}": metrics[metric]["value"] for metric in shown}
    return flat


if __name__ == "__main__":
    run_stage(evaluate)
