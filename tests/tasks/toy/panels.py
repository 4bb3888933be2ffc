"""Nothing to show."""


def slices(split):
    """None."""
    return {}


def panels(split, outputs, sums, params):
    """None."""
    return []
