"""What is measured, as functions of sums over rows, so that a resample of groups costs one matrix product.

The columns of the sums: 1, y - c, (y - c)^2, e^2, |e| and 1 where |e| is near, with y the true value, e the prediction
less it, and c the mean of the answers given: R2 does not depend on c, but its digits do, where y is far from 0.
"""

from collections.abc import Mapping

import numpy as np

from bonafide.project.arrays import Floats
from bonafide.protocol import Metric
from bonafide.tasks.regression.params import Evaluate

SPREAD = 1e-12  # variance, as a share of the mean square about c, below which values are equal


METRICS = (  # the first is the primary one
    Metric("rmse", "RMSE", higher_is_better=False),
    Metric("mae", "MAE", higher_is_better=False),
    Metric("r2", "R²", higher_is_better=True),
    Metric("within", "share of rows near the true value", higher_is_better=True),
)


def row_sums(answers: Floats, records: Mapping[str, Floats], params: Evaluate) -> Floats:
    """What each row adds to the sums, (n, 6), from true values (n,) and the records' `value` (n,), in one unit."""
    centred, errors = answers - answers.mean(), records["value"] - answers
    near = np.abs(errors) <= params.within * np.abs(answers)
    return np.stack([np.ones_like(answers), centred, centred**2, errors**2, np.abs(errors), near], axis=1)


def metrics(sums: Floats) -> dict[str, Floats]:
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
