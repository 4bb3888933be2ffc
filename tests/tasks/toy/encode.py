"""A weight is a number already."""

import numpy as np


def prepare(base, train, params, folder):
    """Nothing is needed."""


def encode(table, processor, params):
    """Weights and ids."""
    arrays = {"weight": table["weight"].to_numpy(), "ids": np.array(table["id"].to_pylist())}
    return arrays, {"rows": len(table)}
