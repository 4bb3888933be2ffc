"""The report's figures and names: what of an evaluation is drawn, and what it is called in words."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bonafide.reporting.charts import bars, confusion, grouped_bars, histogram, interval, ladder, lines, reliability
from bonafide.reporting.svg import SERIES_COLOURS

Facts = Mapping[str, Any]
Points = list[tuple[float, float]]

NAMES = {
    "model": "the model",
    "shell": "the shell",
    "tfidf": "TF-IDF",
    "majority": "majority class",
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "precision_macro": "macro precision",
    "recall_macro": "macro recall",
    "mcc": "MCC",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}
DRAWN = 12  # bars that a reader takes in at once
CURVE_POINTS = 120  # a curve 400 units wide shows no more


def name(key: str) -> str:
    """What a system, metric or split of the evaluation is called in a sentence."""
    return NAMES.get(key, key.replace("_", " "))


def known(rows: Sequence[Facts], key: str) -> list[Facts]:
    """Those rows whose `key` metric is defined and has an interval."""
    return [row for row in rows if row[key] and None not in (row[key]["value"], row[key]["low"], row[key]["high"])]


def weakest(rows: Sequence[Facts], key: str, limit: int) -> list[Facts]:
    """The `limit` rows of lowest `key` metric, lowest first; ties keep their order."""
    return sorted(known(rows, key), key=lambda row: row[key]["value"])[:limit]


def _rungs(rows: Sequence[tuple[str, Facts]]) -> list[tuple[str, float, float, float]]:
    return [(title, m["value"], m["low"], m["high"]) for title, m in rows if None not in (m["value"], m["low"])]


def systems_ladder(split: Facts, systems: Sequence[str], metric: str, label: str) -> Markup:
    """Every system's interval, the model last."""
    rungs = _rungs([(name(system), split["systems"][system][metric]) for system in reversed(systems)])
    return ladder(rungs, label=label, strong=name("model"))


def cell(rows: Sequence[Facts], key: str, mark: float) -> Callable[[Facts], Markup]:
    """A function that draws the `key` interval of one of `rows`, all on one scale, with a line at `mark`."""
    drawn = known(rows, key)
    if not drawn:
        return lambda _: Markup()
    ends = min(mark, *(row[key]["low"] for row in drawn)), max(mark, *(row[key]["high"] for row in drawn))

    def draw(row: Facts) -> Markup:
        return interval(**row[key], ends=ends, mark=mark) if row in drawn else Markup()

    return draw


def in_order(splits: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Splits as they are used: train, validation, test, then the others by name."""
    used = {"train": 0, "validation": 1, "test": 2}
    return sorted(splits.items(), key=lambda item: (used.get(item[0], len(used)), item[0]))


def read_history(path: Path) -> dict[str, Points]:
    """The columns of history.csv as (step, value) points; a cell may be empty."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [column for column in (rows[0] if rows else {}) if column not in {"step", "epoch"}]
    return {c: [(float(row["step"]), float(row[c])) for row in rows if row[c]] for c in columns}


def thin(points: Points, limit: int) -> Points:
    """At most `limit` points, each the mean of as many neighbours."""
    size = -(-len(points) // limit) or 1
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def training(history: Mapping[str, Points], metric: str) -> dict[str, Markup]:
    """Cross-entropy on train and validation, and the primary metric on validation, by optimiser step."""
    columns = {"train": "train_loss", "validation": "validation_log_loss"}
    loss = {title: thin(history[column], CURVE_POINTS) for title, column in columns.items() if history.get(column)}
    primary = history.get(f"validation_{metric}", [])
    drawn = {"loss": lines(loss, label="Loss by step", x="step", y="loss")} if loss else {}
    if len(primary) > 1:
        series = {name(metric): primary}
        drawn["primary"] = lines(series, label=f"Validation {name(metric)} by step", x="step", y=name(metric))
    return drawn


def splits(rows: Mapping[str, Mapping[str, int]]) -> Markup:
    """Rows by split, and by label where there are few enough to tell their colours apart."""
    ordered = dict(in_order(rows))
    labels = list(dict.fromkeys(label for counts in ordered.values() for label in counts))
    if len(labels) > SERIES_COLOURS:
        return bars([(split, sum(counts.values())) for split, counts in ordered.items()], label="Rows by split")
    series = {label: [counts.get(label, 0) for counts in ordered.values()] for label in labels}
    return grouped_bars(list(ordered), series, label="Rows by split and label")


def data(findings: Facts) -> dict[str, Markup]:
    """Rows by split and label, quarantined rows by reason, lengths of the texts."""
    drawn = {"splits": splits(findings["splits"])}
    reasons = sorted(((name(reason), rows) for reason, rows in findings["quarantine"].items() if rows), key=_most)
    if reasons:
        drawn["quarantine"] = bars(reasons[:DRAWN], label="Quarantined rows by reason")
    lengths = findings["lengths"]
    drawn["lengths"] = histogram(lengths["edges"], lengths["counts"], label="Characters per text")
    return drawn


def _most(row: tuple[str, int]) -> tuple[int, str]:
    return -row[1], row[0]


def errors(split: Facts, labels: Sequence[str]) -> dict[str, Markup]:
    """Confusion matrix and calibration diagram of the model."""
    return {
        "confusion": confusion(labels, split["confusion"], label="Confusion matrix: true label by predicted label"),
        "calibration": reliability(split["calibration"], label="Calibration: accuracy by confidence"),
    }
