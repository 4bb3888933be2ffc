"""Names for what functions pass on: numpy arrays by dtype, and metrics."""

from typing import Any

import numpy as np
import numpy.typing as npt

Metrics = dict[str, float]
"""Flat and finite: `split/name` to value."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Arrays = dict[str, npt.NDArray[Any]]
"""Arrays of one split by name."""
