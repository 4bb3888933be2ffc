"""The mean over HTTP."""

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
    return own.say(model, len(rows))


def answers(model, outputs):
    """`words` and `weight`."""
    return {name: outputs[name].tolist() for name in ("words", "weight")}


def signature(model):
    """A thing in, its weight out, in words and as a number."""
    from mlflow.types import ColSpec, DataType, Schema

    said = [ColSpec(DataType.string, "words"), ColSpec(DataType.double, "weight")]
    return Schema([ColSpec(DataType.string, "thing")]), Schema(said)


def examples(model):
    """A thing."""
    return [{"thing": "a feather"}]
