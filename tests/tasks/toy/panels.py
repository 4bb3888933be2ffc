"""Nothing to show."""


def slices(split):
    """By the last digit's parity."""
    return {"odd": (["yes" if weight % 2 else "no" for weight in split.examples["weight"]], ["yes", "no"])}


def panels(split, outputs, sums, params):
    """None."""
    return []
