"""Numbers as people read them; None, for what is not defined, is an en dash.

A number that stands beside a larger one, `like` it, has no more decimals than that.
"""

ABSENT = "\u2013"


def count(value: float | None) -> str:
    """Format a whole number with its thousands marked: 10,605."""
    return ABSENT if value is None else f"{value:,.0f}"


def score(value: float | None, like: float | None = None) -> str:
    """Format a metric with three decimals, so that a column lines up, with fewer where it is large: 0.886, 128,196."""
    return ABSENT if value is None else f"{value:,.{_decimals(value, like)}f}".replace("-", "\u2212")


def plain(value: float, like: float | None = None) -> str:
    """Format a metric for a sentence, with an ASCII minus: 0.886, -0.012."""
    decimals = _decimals(value, like)
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def _decimals(value: float, like: float | None) -> int:
    """Of a number as large as the larger of these: a price is not read to a thousandth."""
    largest = max(abs(value), abs(like or 0))
    return 3 if largest < 10 else 1 if largest < 1000 else 0


def percent(value: float | None) -> str:
    """Format a share with one decimal, with two where it is small: 88.6%, 0.04%."""
    if value is None:
        return ABSENT
    return f"{value:.2%}" if 0 < value < 0.01 else f"{value:.1%}"


def signed(value: float | None, like: float | None = None) -> str:
    """Format a difference with its sign, a true minus: +0.061, \u22120.012."""
    if value is None:
        return ABSENT
    return f"{value:+,.{_decimals(value, like)}f}".replace("-", "\u2212")


def p_value(value: float | None) -> str:
    """Format a p-value without a precision it does not have: 0.032, below 0.001."""
    if value is None:
        return ABSENT
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def tick(value: float) -> str:
    """Format an axis tick with the digits it needs: 0.5, 2,000, 250k, 1.5M, 1e-05."""
    if value and abs(value) < 0.001:
        return f"{value:.0e}".replace("-", "\u2212")
    unit, mark = (1e6, "M") if abs(value) >= 1e6 else (1e3, "k") if abs(value) >= 1e4 else (1, "")
    text = f"{value / unit:,.3f}".rstrip("0").rstrip(".")
    return f"{text}{mark}".replace("-", "\u2212")
