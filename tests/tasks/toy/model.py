"""A number, and what it is in words."""

import numpy as np

from bonafide.project.files import read_json

OUTPUTS = np.dtype([("words", object), ("weight", np.float64)])


def load(folder):
    """The mean."""
    return read_json(folder / "mean.json")


def predict(model, examples):
    """The same for every row."""
    return say(model, len(examples["ids"]))


def say(weight, rows):
    """A weight and its word for each of so many rows."""
    return np.array([(words(weight), weight)] * rows, dtype=OUTPUTS)


def words(weight):
    """A weight in words."""
    return "heavy" if weight > 140 else "light"
