"""No base model."""


def check(folder):
    """Whatever there is."""
