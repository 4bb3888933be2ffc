"""A number."""

import numpy as np

from bonafide.project.files import read_json


def load(folder):
    """The mean."""
    return read_json(folder / "mean.json")


def predict(model, examples):
    """The same for every row."""
    return np.full(len(examples["ids"]), model)
