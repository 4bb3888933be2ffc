"""A weight is above 0."""

from bonafide.quality import figures
from bonafide.quality.expectations import expect
from bonafide.quality.rows import Examined


def examine(table, params):
    """Equal things are one."""
    return Examined(
        table=table,
        faults={"weightless": ~(table["weight"].to_numpy() > 0)},
        identity=table["thing"],
        unique=True,
        expectations=[expect("things have names", "column_values_to_not_be_null", column="thing")],
        causes={"weightless": "task.name"},
    )


def checks(kept, params):
    """None."""
    return []


def show(kept, splits, params):
    """How heavy things are."""
    return [figures.histogram("Weights", kept["weight"].to_numpy())]
