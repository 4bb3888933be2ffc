"""What its model card says."""

PIPELINE = "tabular-regression"
LIBRARY = "bonafide"
HUB_METRICS = {"error": "mae"}


def describe(params):
    """One sentence."""
    return "The mean of some weights"


def usage(params):
    """One sentence."""
    return "Read mean.json."
