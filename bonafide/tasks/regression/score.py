"""How a regression is measured.

The columns of the sums: 1, y - c, (y - c)^2, e^2, |e| and 1 where |e| is near, with y the true value, e the prediction
less it, and c the mean of the targets given: R2 does not depend on c, but its digits do, where y is far from 0.
"""

from typing import Any

import numpy as np

from bonafide.project.arrays import Floats
from bonafide.protocol import Facts, Metric, Outputs, Targets
from bonafide.tasks.regression.params import TARGET

__all__ = ["METRICS", "RATE", "TARGET", "comparable", "metrics", "row_sums", "settings"]

SPREAD = 1e-12  # variance, as a share of the mean square about c, below which values are equal

METRICS = (
    Metric("rmse", "RMSE", higher_is_better=False),
    Metric("mae", "MAE", higher_is_better=False),
    Metric("r2", "R²", higher_is_better=True),
    Metric("within", "share of rows near the true value", higher_is_better=True),
)
RATE = "within"


def settings(params: Any) -> Facts:
    """How near is near."""
    return {"within": params.evaluate.within}


def comparable(outputs: Outputs, settings: Facts) -> tuple[Outputs, Facts]:
    """As they are."""
    return outputs, settings


def row_sums(targets: Targets, outputs: Outputs, settings: Facts) -> Floats:
    """What each row adds to the sums, (n, 6), from true and predicted values, (n,) each, in one unit.

    Raises ValueError unless outputs are finite numbers.
    """
    if outputs.ndim != 1 or not np.isfinite(outputs).all():
        raise ValueError("no values")
    y = np.asarray(targets, dtype=np.float64)
    centred, errors = y - y.mean(), outputs - y
    near = np.abs(errors) <= settings["within"] * np.abs(y)
    return np.stack([np.ones_like(y), centred, centred**2, errors**2, np.abs(errors), near], axis=1)


def metrics(sums: Floats, settings: Facts) -> dict[str, Floats]:  # noqa: ARG001
    """Each metric (...) of sums (..., 6).

    `rmse` and `mae` are in the target's unit; `r2` is the share of the rows' variance about their own mean that is
    explained, and 0 where all values are equal; `within` is the share of rows near the true value.
    """
    rows, centred, squares, squared_errors, errors, near = (sums[..., i] for i in range(6))
    variation = squares - centred**2 / rows
    spread = variation > SPREAD * squares
    unexplained = np.divide(squared_errors, variation, out=np.ones_like(rows), where=spread)
    return {
        "rmse": np.sqrt(squared_errors / rows),
        "mae": errors / rows,
        "r2": 1 - unexplained,
        "within": near / rows,
    }
