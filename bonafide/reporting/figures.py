"""The report's figures: what of an evaluation is drawn, by what it says of itself and by no task's name."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bonafide.reporting.charts import bars, grouped_bars, heat_map, histogram, interval, ladder, lines, matrix, scatter
from bonafide.reporting.svg import SERIES_COLOURS

Facts = Mapping[str, Any]
Points = list[tuple[float, float]]

CHARTS: dict[str, Callable[..., Markup]] = {
    "bars": bars,
    "grouped_bars": grouped_bars,
    "histogram": histogram,
    "matrix": matrix,
    "scatter": scatter,
}
"""By the kind of a panel or finding; its other keys are the chart's arguments."""

CURVE_POINTS = 120  # a curve 400 units wide shows no more


def draw(panel: Facts) -> Markup:
    """The chart of a panel that is no table."""
    data = {key: value for key, value in panel.items() if key not in ("kind", "title", "caption")}
    picture = heat_map if "values" in panel else CHARTS[panel["kind"]]
    return picture(**data, label=panel["title"])


def is_plain(panel: Facts) -> bool:
    """Whether its series have a colour each."""
    return len(panel.get("series", ())) <= SERIES_COLOURS


def cells(panel: Facts, limit: int | None = None) -> list[list[Any]]:
    """The first rows of a table, with its intervals drawn, each column of them on a scale of its own."""
    rows = [list(row) for row in panel["rows"][:limit]]
    for place, column in enumerate(panel["columns"]):
        if column["kind"] == "interval":
            cell = interval_cell([row[place] for row in rows], panel["mark"])
            for row in rows:
                row[place] = cell(row[place])
    return rows


def pictures(panel: Facts, limit: int) -> list[Facts]:
    """The first pictures of each group of a gallery that has any."""
    groups = [{"title": group["title"], "items": group["items"][:limit]} for group in panel["groups"]]
    return [group for group in groups if group["items"]]


def known(estimates: Sequence[Facts]) -> list[Facts]:
    """Those that are defined and have an interval."""
    return [one for one in estimates if one and None not in (one["value"], one["low"], one["high"])]


def weakest(rows: Sequence[Facts], metric: Facts, limit: int) -> list[Facts]:
    """The `limit` rows that are worst by a metric, the worst first; ties keep their order."""
    key, sign = metric["name"], 1 if metric["higher_is_better"] else -1
    return sorted((row for row in rows if known([row[key]])), key=lambda row: sign * row[key]["value"])[:limit]


def systems_ladder(split: Facts, systems: Sequence[Facts], metric: str, label: str) -> Markup:
    """Every system's interval, the model, which is the first, last."""
    measured = [(system["words"], split["systems"][system["name"]][metric]) for system in reversed(systems)]
    rungs = [(words, one["value"], one["low"], one["high"]) for words, one in measured if known([one])]
    return ladder(rungs, label=label, strong=systems[0]["words"]) if rungs else Markup()


def interval_cell(estimates: Sequence[Facts], mark: float) -> Callable[[Facts], Markup]:
    """A function that draws one of `estimates`, all on one scale, with a line at `mark`."""
    drawn = known(estimates)
    if not drawn:
        return lambda _: Markup()
    ends = min(mark, *(one["low"] for one in drawn)), max(mark, *(one["high"] for one in drawn))
    return lambda one: interval(**one, ends=ends, mark=mark) if known([one]) else Markup()


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


def training(history: Mapping[str, Points], metrics: Sequence[Facts]) -> dict[str, Any]:
    """By optimiser step the losses (columns `<split>_..._loss`), and a metric on validation with its `words`.

    The first of `metrics` that training has: what needs whole outputs, as of a translation, is not measured there.
    """
    losses = {column.partition("_")[0]: points for column, points in history.items() if column.endswith("_loss")}
    thinned = {split: thin(points, CURVE_POINTS) for split, points in losses.items() if points}
    drawn: dict[str, Any] = {"loss": lines(thinned, label="Loss by step", x="step", y="loss")} if thinned else {}
    for words, points in ((one["words"], history.get(f"validation_{one['name']}", [])) for one in metrics):
        if len(points) > 1:
            chart = lines({words: points}, label=f"Validation {words} by step", x="step", y=words)
            return drawn | {"validation": chart, "words": words}
    return drawn
