"""Charts as inline SVG: pure functions of numbers and names, with every name escaped."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt

from markupsafe import Markup

from bonafide.project.numbers import count, score, tick
from bonafide.reporting.svg import (
    SERIES_COLOURS,
    WIDTH,
    Scale,
    chart,
    circle,
    element,
    group,
    legend,
    line,
    linear,
    rect,
    shorten,
    text,
    text_width,
    ticks,
)

ROW = 26  # units of height of one row of bars or of a ladder
NAMES = 180  # at most this wide are the names at the left
DOTTED = 30  # points of a line up to which each has a dot: more would hide the line
NUMBERED = 30  # units of a cell's side from which it has its count written in
DARK = 0.5  # share of a row from which a cell's number is written light
MATRIX = 16  # a matrix of more names is folded: two digits need 17 units
MATRIX_NAMES = 110  # units that leave 16 names those 17
HEADS = 70  # units of height for names that are written upwards
CELL = 14  # units of a cell's side from which names of 12 stand apart


Pair = tuple[float, float]


def _names_width(names: Sequence[str]) -> float:
    return min(NAMES, max((text_width(shorten(name, NAMES)) for name in names), default=0)) + 10


def _value(number: float) -> str:
    return count(number) if float(number).is_integer() and abs(number) > 1 else tick(number)


def _baseline(x: Scale, marks: Sequence[float], top: float, bottom: float) -> Markup:
    """Vertical gridlines with their ticks below."""
    lines_ = [line(x(m), top, x(m), bottom, "gridline") for m in marks]
    return Markup("").join(lines_ + [text(x(m), bottom + 15, tick(m), "m c") for m in marks])


def _axes(ends: Pair, y: Scale, columns: Sequence[Pair], rows: Sequence[float], names: tuple[str, str]) -> Markup:
    """Gridlines between the `ends` in units, ticks of both axes (columns as (units, value)), and the axes' names."""
    left, right, bottom = *ends, y(rows[0])
    marks = [line(left, y(r), right, y(r), "gridline") + text(left - 6, y(r) + 4, tick(r), "m e") for r in rows]
    marks += [text(at, bottom + 15, tick(value), "m c") for at, value in columns]
    marks += [text(right, bottom + 31, names[0], "m e"), text(0, y(rows[-1]) - 12, names[1], "m")]
    return Markup("").join([*marks, line(left, bottom, right, bottom, "axis")])


def bars(rows: Sequence[tuple[str, float]], *, label: str) -> Markup:
    """Horizontal bars from zero, one (name, value) a row, the value at the bar's end."""
    left = _names_width([name for name, _ in rows])
    room = max((text_width(_value(value)) for _, value in rows), default=0) + 8
    x = linear(0, max((value for _, value in rows), default=0) or 1, left, WIDTH - room)
    marks = []
    for index, (name, value) in enumerate(rows):
        y = index * ROW
        bar = rect(left, y + 5, x(value) - left, ROW - 10, "f1")
        named = text(0, y + 17, shorten(name, NAMES))
        marks.append(group(f"{name}: {_value(value)}", named, bar, text(x(value) + 6, y + 17, _value(value), "m")))
    return chart(max(len(rows), 1) * ROW, label, *marks)


def grouped_bars(groups: Sequence[str], series: Mapping[str, Sequence[float]], *, label: str) -> Markup:
    """One block of bars a group, one bar a series, a legend above; `series` values align with `groups`."""
    values = [value for numbers in series.values() for value in numbers]
    room = max((text_width(_value(value)) for value in values), default=0) + 8
    left, thick = _names_width(groups), 13
    x = linear(0, max(values, default=0) or 1, left, WIDTH - room)
    block = thick * len(series) + 12
    marks = [legend(list(series), "f")]
    for row, name in enumerate(groups):
        top = 26 + row * block
        marks.append(group(name, text(0, top + (block - 12) / 2 + 4, shorten(name, NAMES))))
        for index, (owner, numbers) in enumerate(series.items()):
            y, value = top + index * thick, numbers[row]
            bar = rect(left, y, x(value) - left, thick - 2, f"f{index % SERIES_COLOURS + 1}")
            shown = text(x(value) + 6, y + 10, _value(value), "m")
            marks.append(group(f"{name}, {owner}: {_value(value)}", bar, shown))
    return chart(26 + max(len(groups), 1) * block, label, *marks)


def histogram(edges: Sequence[float], counts: Sequence[int], *, label: str) -> Markup:
    """Counts between consecutive edges (one more edge than counts), bars as wide as their bins."""
    levels = ticks(0, max(counts, default=0) or 1, 3)
    left, height = max(text_width(tick(level)) for level in levels) + 10, 170.0
    x, y = linear(edges[0], edges[-1], left, WIDTH - 8), linear(0, levels[-1], height - 24, 10)
    marks = [line(left, y(v), WIDTH - 8, y(v), "gridline") + text(left - 6, y(v) + 4, tick(v), "m e") for v in levels]
    for (low, high), number in zip(pairwise(edges), counts, strict=True):
        bar = rect(x(low) + 0.5, y(number), x(high) - x(low) - 1, y(0) - y(number), "f1")
        marks.append(group(f"{tick(low)} to {tick(high)}: {count(number)}", bar))
    shown = [m for m in ticks(edges[0], edges[-1], 5) if edges[0] <= m <= edges[-1]]
    marks += [text(x(m), height - 8, tick(m), "m c") for m in shown]
    return chart(height, label, *marks, line(left, y(0), WIDTH - 8, y(0), "axis"))


def lines(series: Mapping[str, Sequence[Pair]], *, label: str, x: str, y: str) -> Markup:
    """One line a series of (x, y) points; short series have dots. `x` and `y` name the axes."""
    points = [point for line_ in series.values() for point in line_] or [(0.0, 0.0)]
    first, last = min(p[0] for p in points), max(p[0] for p in points)
    rows = ticks(min(p[1] for p in points), max(p[1] for p in points))
    left, top = max(text_width(tick(level)) for level in rows) + 8, 48.0 if len(series) > 1 else 26.0
    across, up = linear(first, last, left + 4, WIDTH - 12), linear(rows[0], rows[-1], top + 144, top)
    columns = [mark for mark in ticks(first, last, 5) if first <= mark <= last]
    marks = [legend(list(series), "l")] if len(series) > 1 else []
    marks.append(_axes((left, WIDTH - 8), up, [(across(c), c) for c in columns], rows, (x, y)))
    for index, (name, line_) in enumerate(series.items()):
        colour = index % SERIES_COLOURS + 1
        path = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in line_)
        dots = [group(f"{name}: {tick(b)} at {tick(a)}", circle(across(a), up(b), 3, f"f{colour}")) for a, b in line_]
        marks.append(element("polyline", points=path, class_=f"line l{colour}"))
        marks += dots if len(line_) <= DOTTED else []
    return chart(top + 180, label, *marks)


def ladder(rows: Sequence[tuple[str, float, float, float]], *, label: str, strong: str = "") -> Markup:
    """Dots with whiskers: (name, value, low, high) a row; the row named `strong` in the accent colour."""
    marks_at = ticks(min(row[2] for row in rows), max(row[3] for row in rows))
    left, bottom = _names_width([row[0] for row in rows]), len(rows) * ROW + 6.0
    x = linear(marks_at[0], marks_at[-1], left + 8, WIDTH - 58)
    marks = [_baseline(x, marks_at, 0, bottom)]
    most = max(row[1] for row in rows)
    for index, (name, value, low, high) in enumerate(rows):
        y, colour = index * ROW + 16, 1 if name == strong else 5
        weight = "b" if name == strong else ""
        whisker = line(x(low), y, x(high), y, f"line l{colour}")
        dot = circle(x(value), y, 5, f"f{colour}")
        named = text(0, y + 4, shorten(name, NAMES), weight)
        shown = text(WIDTH, y + 4, score(value, most), f"e {weight}".strip())
        marks.append(group(f"{name}: {score(value)} ({score(low)} to {score(high)})", named, whisker, dot, shown))
    return chart(bottom + 20, label, *marks)


def interval(value: float, low: float, high: float, *, ends: Pair, mark: float) -> Markup:
    """A dot with its whisker on the scale of its column's `ends`, small enough for a table's cell; a line at `mark`."""
    x = linear(*ends, 6, 154)
    words = f"{score(value)} ({score(low)} to {score(high)})"
    reference, whisker = line(x(mark), 0, x(mark), 20, "dash"), line(x(low), 10, x(high), 10, "line l1")
    marks = [reference, whisker, circle(x(value), 10, 4, "f1")]
    return element("svg", *marks, class_="chart cell", viewBox="0 0 160 20", role="img", aria_label=words)


def scatter(points: Sequence[Mapping[str, float]], *, label: str, x: str, y: str, diagonal: bool = False) -> Markup:
    """Dots at `x` and `y`, with a whisker from `low` to `high` and as large as their `rows` where they have these.

    `x` and `y` name the axes; with `diagonal`, both have one scale and a dashed line shows where they are equal.
    """
    ups = [value for point in points for value in (point["y"], point.get("low", point["y"]), point.get("high", 0))]
    ups, overs = ups or [0.0, 1.0], [point["x"] for point in points] or [0.0, 1.0]
    ups, overs = (ups + overs, overs + ups) if diagonal else (ups, overs)
    columns, rows = ticks(min(overs), max(overs)), ticks(min(ups), max(ups))
    left = max(text_width(tick(level)) for level in rows) + 16
    across, up = linear(columns[0], columns[-1], left, left + 260), linear(rows[0], rows[-1], 286, 26)
    marks = [_axes((left - 8, left + 268), up, [(across(v), v) for v in columns], rows, (x, y))]
    if diagonal:
        marks.append(line(across(rows[0]), up(rows[0]), across(rows[-1]), up(rows[-1]), "dash"))
    total = sum(point.get("rows", 0) for point in points) or 1
    for point in points:
        at, words = (across(point["x"]), up(point["y"])), f"{x} {score(point['x'])}, {y} {score(point['y'])}"
        whisker = [line(at[0], up(point["low"]), at[0], up(point["high"]), "line l1")] if "low" in point else []
        if "rows" in point:
            dot = circle(*at, 2 + 8 * sqrt(point["rows"] / total), "f1")
            marks.append(group(f"{count(point['rows'])} rows: {words}", *whisker, dot))
        else:
            dot = element("circle", cx=at[0], cy=at[1], r=3, class_="f1", fill_opacity="0.45")
            marks.append(group(words, *whisker, dot))
    return chart(322, label, *marks)


def fold(labels: Sequence[str], counts: Sequence[Sequence[int]], limit: int) -> tuple[list[str], list[list[int]]]:
    """Keep the `limit` - 1 names with most counts off the diagonal, in their order, and sum the others into one."""
    if len(labels) <= limit:
        return list(labels), [list(row) for row in counts]
    size = range(len(labels))
    errors = [sum(counts[i]) + sum(row[i] for row in counts) - 2 * counts[i][i] for i in size]
    kept = sorted(sorted(size, key=lambda i: (-errors[i], i))[: limit - 1])
    place = {old: new for new, old in enumerate(kept)}
    folded = [[0] * limit for _ in range(limit)]
    for i in size:
        for j in size:
            folded[place.get(i, limit - 1)][place.get(j, limit - 1)] += counts[i][j]
    return [*(labels[i] for i in kept), f"{len(labels) - len(kept)} others"], folded


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]], *, label: str, x: str, y: str) -> Markup:
    """Heat map of counts[y][x], coloured by the share of the row; beyond 16 names, `fold`ed."""
    names, counts = fold(names, counts, MATRIX)
    rows = [shorten(f"{i} {name}", MATRIX_NAMES) for i, name in enumerate(names, 1)]
    left, top = _names_width(rows), 40.0
    side = min((WIDTH - left) / len(names), 104)
    fits = all(text_width(name) <= side - 8 for name in names)
    marks = [text(left, 12, f"{x} \u2192", "m"), text(0, top - 8, f"{y} \u2193", "m")]
    for i, name in enumerate(names):
        total, at = sum(counts[i]) or 1, top + i * side
        marks.append(text(left + (i + 0.5) * side, top - 8, name if fits else str(i + 1), "m c"))
        marks.append(text(0, at + side / 2 + 4, name if fits else rows[i]))
        for j, number in enumerate(counts[i]):
            words = f"{y} {name}, {x} {names[j]}: {count(number)} of {count(sum(counts[i]))}"
            share = number / total
            cell = rect(left + j * side, at, side - 1, side - 1, "f1", fill_opacity=f"{0.06 + 0.94 * share:.2f}")
            shown = text(left + (j + 0.5) * side, at + side / 2 + 4, count(number), "c on" if share > DARK else "c")
            marks.append(group(words, cell, shown) if side >= NUMBERED else group(words, cell))
    return chart(top + len(names) * side, label, *marks)


def heat_map(
    names_x: Sequence[str],
    names_y: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    label: str,
    x: str = "",
    y: str = "",
) -> Markup:
    """values[y][x] of 0 and more as colour, the largest the darkest; names across are written upwards.

    As many columns are drawn as stay apart.
    """
    left, top = min(_names_width(names_y), MATRIX_NAMES), 20.0 + HEADS
    names_x = names_x[: int((WIDTH - left) / CELL)]
    side = min((WIDTH - left) / (len(names_x) or 1), 26)
    most = max((value for row in values for value in row), default=0) or 1
    marks = [text(0, 12, x, "m"), text(0, top - 8, y, "m")]
    for j, name in enumerate(names_x):
        at = f"translate({left + (j + 0.5) * side + 4:.1f} {top - 6:.1f}) rotate(-90)"
        marks.append(element("text", shorten(name, HEADS), transform=at))
    for i, (name, row) in enumerate(zip(names_y, values, strict=True)):
        down = top + i * max(side, CELL)
        marks.append(text(0, down + max(side, CELL) / 2 + 4, shorten(name, left - 10)))
        for j, (other, value) in enumerate(zip(names_x, row, strict=False)):
            depth = f"{0.04 + 0.96 * value / most:.2f}"
            cell = rect(left + j * side, down, side - 1, max(side, CELL) - 1, "f1", fill_opacity=depth)
            marks.append(group(f"{y} {name}, {x} {other}: {score(value)}", cell))
    return chart(top + len(names_y) * max(side, CELL), label, *marks)
