"""What a model card says of a linear model."""

from typing import Any

from markupsafe import Markup

from bonafide.reporting.markdown import code

PIPELINE = "tabular-regression"
LIBRARY = "bonafide"
HUB_METRICS = {"rmse": "rmse", "mae": "mae", "r2": "r_squared"}

USAGE = Markup("""```python
from bonafide.tasks.regression.serve import load

load("models/model").predict([{{...}}])  # a row: {}
```""")


def describe(params: Any) -> Markup:
    """What is predicted from what."""
    columns = len(params.task.numbers) + len(params.task.categories)
    target = code(params.data.columns["target"])
    return Markup("A linear regression of {} on {} columns").format(target, columns)


def usage(params: Any) -> Markup:
    """With this package."""
    return USAGE.format(", ".join([*params.task.numbers, *params.task.categories]))
