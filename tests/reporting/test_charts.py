"""Charts: geometry follows the numbers, names stay words, and equal input gives equal bytes."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bonafide.reporting import charts, svg

HOSTILE = "</title><script>alert(1)</script>\" onload='x' ]]> \u202e\x1b[31m&amp;"
BINS = [
    {"rows": 25, "x": 0.6, "y": 0.6, "low": 0.5, "high": 0.7},
    {"rows": 100, "x": 0.9, "y": 0.7, "low": 0.6, "high": 0.8},
]
finite = st.floats(-1e6, 1e6) | st.floats(-1e-6, 1e-6)


def every_chart(name: str) -> dict[str, str]:
    return {
        "bars": charts.bars([(name, 3.0), ("b", 1.5)], label=name),
        "grouped_bars": charts.grouped_bars([name, "b"], {name: [1, 2], "y": [3, 4]}, label=name),
        "histogram": charts.histogram([0, 1, 2], [5, 7], label=name),
        "lines": charts.lines({name: [(0, 1), (1, 2)], "y": [(0, 3)]}, label=name, x=name, y=name),
        "ladder": charts.ladder([(name, 0.5, 0.4, 0.6), ("b", 0.7, 0.6, 0.9)], label=name, strong=name),
        "interval": charts.interval(0.5, 0.4, 0.6, ends=(0, 1), mark=0.7),
        "scatter": charts.scatter([{"x": 1.0, "y": 2.0}], label=name, x=name, y=name),
        "sized": charts.scatter(BINS, label=name, x=name, y=name, diagonal=True),
        "heat_map": charts.heat_map([name, "b"], [name], [[0.2, 0.8]], label=name, x=name, y=name),
        "matrix": charts.matrix([name, "b"], [[3, 1], [0, 4]], label=name, x=name, y=name),
    }


def found(chart: str, tag: str) -> list[dict[str, str]]:
    return [element.attrib for element in ET.fromstring(chart).iter(tag)]  # noqa: S314 - our own


@pytest.mark.parametrize("kind", every_chart(""))
def test_a_hostile_name_adds_no_element_and_no_attribute(kind):
    shape = [
        [(element.tag, sorted(element.attrib)) for element in ET.fromstring(every_chart(name)[kind]).iter()]  # noqa: S314
        for name in ("harmless", HOSTILE)
    ]
    assert shape[0] == shape[1]


@pytest.mark.parametrize("kind", every_chart(""))
def test_equal_input_gives_equal_bytes_and_a_name_for_screen_readers(kind):
    assert every_chart("a")[kind] == every_chart("a")[kind]
    root = ET.fromstring(every_chart("a")[kind])  # noqa: S314
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]


def test_bars_are_as_long_as_their_values():
    long, short = (float(bar["width"]) for bar in found(every_chart("a")["bars"], "rect"))
    assert long == pytest.approx(2 * short, abs=0.2)


def test_histogram_bars_stand_on_the_axis_and_grow_with_their_counts():
    chart = charts.histogram([0, 1, 2], [5, 10], label="h")
    low, high = found(chart, "rect")
    axis = next(float(mark["y1"]) for mark in found(chart, "line") if mark["class"] == "axis")
    assert float(high["height"]) == pytest.approx(2 * float(low["height"]), abs=0.2)
    assert [float(bar["y"]) + float(bar["height"]) for bar in (low, high)] == pytest.approx([axis, axis], abs=0.2)


def test_histogram_needs_one_more_edge_than_counts():
    with pytest.raises(ValueError, match="zip"):
        charts.histogram([0, 1, 2], [5], label="h")


def test_ladder_puts_each_dot_within_its_whisker_and_orders_dots_by_value():
    chart = charts.ladder([("a", 0.5, 0.4, 0.6), ("b", 0.7, 0.65, 0.9)], label="l")
    dots = [float(dot["cx"]) for dot in found(chart, "circle")]
    whiskers = [mark for mark in found(chart, "line") if mark["class"].startswith("line")]
    assert dots[0] < dots[1]
    assert all(float(w["x1"]) < x < float(w["x2"]) for w, x in zip(whiskers, dots, strict=True))


def test_a_calibrated_bin_lies_on_the_diagonal_and_an_overconfident_one_below():
    chart = charts.scatter(BINS, label="r", x="x", y="y", diagonal=True)
    diagonal = next(mark for mark in found(chart, "line") if mark["class"] == "dash")
    (x1, y1, x2, y2), dots = (float(diagonal[k]) for k in ("x1", "y1", "x2", "y2")), found(chart, "circle")
    above = [float(dot["cy"]) - (y1 + (float(dot["cx"]) - x1) * (y2 - y1) / (x2 - x1)) for dot in dots]
    assert len(dots) == 2
    assert above[0] == pytest.approx(0, abs=0.2)
    assert above[1] > 10  # further down the screen
    assert float(dots[1]["r"]) > float(dots[0]["r"])


def test_a_matrix_is_coloured_by_the_share_of_its_row():
    opacity = [float(cell["fill-opacity"]) for cell in found(every_chart("a")["matrix"], "rect")]
    assert opacity == pytest.approx([0.06 + 0.94 * share for share in (0.75, 0.25, 0, 1)], abs=0.01)


def test_a_heat_map_is_darkest_where_the_value_is_largest_and_drops_columns_that_would_not_stand_apart():
    opacity = [float(cell["fill-opacity"]) for cell in found(every_chart("a")["heat_map"], "rect")]
    assert opacity == pytest.approx([0.04 + 0.96 * share for share in (0.25, 1)], abs=0.01)
    wide = charts.heat_map([str(i) for i in range(90)], ["a", "b"], [[0.0] * 90] * 2, label="h")
    cells = found(wide, "rect")
    assert len(cells) == 2 * 27
    assert all(float(cell["x"]) + float(cell["width"]) <= svg.WIDTH for cell in cells)


def test_many_classes_fold_into_the_most_confused_and_lose_no_row():
    size = 150
    counts = [[7 if i == j else 0 for j in range(size)] for i in range(size)]
    counts[140][3] = 9
    labels, folded = charts.fold([f"class {i}" for i in range(size)], counts, 16)
    assert len(labels) == len(folded) == 16
    assert {"class 3", "class 140", "135 others"} <= set(labels)
    assert sum(map(sum, folded)) == 7 * size + 9
    assert len(found(charts.matrix([str(i) for i in range(size)], counts, label="c", x="x", y="y"), "rect")) == 256


def test_charts_of_nothing_are_drawn():
    assert "<svg" in charts.bars([], label="")
    assert "<svg" in charts.grouped_bars([], {}, label="")
    assert "<svg" in charts.lines({}, label="", x="", y="")
    assert "<svg" in charts.scatter([], label="", x="", y="")
    assert "<svg" in charts.heat_map([], [], [], label="")


@given(finite, finite, st.integers(2, 6))
def test_ticks_are_evenly_spaced_and_cover_the_range(one, other, wanted):
    low, high = min(one, other), max(one, other)
    marks = svg.ticks(low, high, wanted)
    steps = [b - a for a, b in pairwise(marks)]
    slack = 1e-6 * max(steps)
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= wanted + 3
    assert max(steps) == pytest.approx(min(steps), rel=1e-2)


@given(st.text(), st.integers(7, 200))
def test_a_shortened_name_fits(text, width):
    short = svg.shorten(text, width)
    assert svg.text_width(short) <= max(width, svg.text_width("…"))
    assert short.isprintable() or "\u200c" in short or "\u200d" in short or " " not in short
