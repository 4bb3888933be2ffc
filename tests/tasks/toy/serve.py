"""The mean over HTTP."""

import numpy as np
from bonafide.tasks.toy import model as own


def config(params):
    """Nothing."""
    return {}


def load(folder, config):
    """The mean."""
    return own.load(folder)


def refuse(model, rows):
    """Nothing."""


def predict(model, rows):
    """The same for every row."""
    return np.full(len(rows), model)


def answers(model, outputs):
    """`weight`."""
    return {"weight": outputs.tolist()}


def signature(model):
    """A thing in, its weight out."""
    from mlflow.types import ColSpec, DataType, Schema

    return Schema([ColSpec(DataType.string, "thing")]), Schema([ColSpec(DataType.double, "weight")])


def examples(model):
    """A thing."""
    return [{"thing": "a feather"}]
