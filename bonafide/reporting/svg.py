"""SVG in a few functions: escaped elements, text that fits, scales and round ticks.

Charts are drawn in user units, 400 wide, so that 12-unit text is about 10 px on a phone and 14 px on a desk. Colours
are classes of templates/style.css (`f1` to `f5` fill, `l1` to `l5` stroke a series; `m` mutes; `e`, `c` anchor at
the end, the centre; `b` is bold), so that dark mode and print change them without touching the chart.
"""

import unicodedata
from collections.abc import Callable, Sequence
from math import ceil, floor, log10

from markupsafe import Markup, escape

from bonafide.project.console import printable

WIDTH = 400
SERIES_COLOURS = 5
Scale = Callable[[float], float]


def _attribute(name: str, value: str | float) -> Markup:
    text = value if isinstance(value, str) else f"{round(value, 1) + 0.0:g}"
    return Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), printable(text))


def element(name: str, *children: str, **attributes: str | float) -> Markup:
    """Build one element; children that are not Markup are escaped, numbers are rounded to 0.1 unit."""
    head = Markup("").join(_attribute(key, value) for key, value in attributes.items())
    body = Markup("").join(c if isinstance(c, Markup) else escape(printable(c)) for c in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), head, body)  # noqa: S704 - names are literals of ours


def group(title: str, *children: Markup) -> Markup:
    """Group marks under a `<title>`, which browsers show as a tooltip and screen readers speak."""
    return element("g", element("title", title), *children)


def chart(height: float, label: str, *children: Markup) -> Markup:
    """Frame a whole chart; `label` says in words what it shows."""
    box = f"0 0 {WIDTH} {height:g}"
    return element("svg", element("title", label), *children, class_="chart", viewBox=box, role="img", aria_label=label)


def text(x: float, y: float, content: str, classes: str = "") -> Markup:
    """Write one line with its baseline at y."""
    return element("text", content, x=x, y=y, class_=classes) if classes else element("text", content, x=x, y=y)


def line(x1: float, y1: float, x2: float, y2: float, classes: str) -> Markup:
    """Draw a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=classes)


def rect(x: float, y: float, width: float, height: float, classes: str, **attributes: str | float) -> Markup:
    """Draw a rectangle, never narrower than nothing."""
    return element("rect", x=x, y=y, width=max(width, 0), height=max(height, 0), class_=classes, **attributes)


def circle(x: float, y: float, radius: float, classes: str) -> Markup:
    """Draw a dot."""
    return element("circle", cx=x, cy=y, r=radius, class_=classes)


def text_width(content: str) -> float:
    """Estimate the width of 12-unit text: 7 units a character, 12 for an East Asian wide one."""
    return sum(12 if unicodedata.east_asian_width(c) in "WF" else 7 for c in content)


def shorten(content: str, width: float) -> str:
    """Cut `content` with an ellipsis where it would be wider than `width` units."""
    content = " ".join(printable(content[:200]).split())
    if text_width(content) <= width:
        return content
    while content and text_width(content + "…") > width:
        content = content[:-1]
    return content + "…"


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Map [low, high] to [start, end]; an empty range maps to the middle."""
    if high <= low:
        return lambda _: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers that cover [low, high] in about `wanted` steps of 1, 2, 2.5 or 5 times a power of ten."""
    size = max(abs(low), abs(high))
    span = high - low if high - low > 1e-9 * size else size  # one value has no range of its own
    span = span if span > 1e-99 else 1.0
    power = 10.0 ** floor(log10(span / wanted))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * wanted >= span * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, max(last, first + 1) + 1)]


def legend(names: Sequence[str], mark: str, y: float = 10) -> Markup:
    """Name the series in one line above the plot; `mark` is the class prefix of their colour (`f` or `l`)."""
    each = WIDTH / max(len(names), 3)
    entries = []
    for index, name in enumerate(names):
        x, colour = index * each, f"{mark}{index % SERIES_COLOURS + 1}"
        key = rect(x, y - 9, 10, 10, colour) if mark == "f" else line(x, y - 4, x + 14, y - 4, f"line {colour}")
        entries.append(group(name, key, text(x + 19, y, shorten(name, each - 26))))
    return Markup("").join(entries)
