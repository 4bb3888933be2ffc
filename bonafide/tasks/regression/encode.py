"""Rows to a design matrix: numbers (or their logarithms) and an indicator a category's value, standardised on train.

The processor is a list of `Feature`, a column of the matrix each, and all that is needed to encode new rows: it is
kept as JSON beside the matrices and, with the weights, in the model's config.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bonafide.project.arrays import Arrays, Floats, Metrics
from bonafide.project.errors import InputError
from bonafide.project.files import write_json
from bonafide.project.paths import PROCESSOR
from bonafide.tasks.regression.params import TARGET, Task, Tokenize


@dataclass(frozen=True)
class Feature:
    """One column of the design matrix: (raw - mean) / deviation."""

    column: str
    """Of the table."""
    value: str | None = None
    """Of a category: raw is 1 where the row has it, else 0."""
    logarithm: bool = False
    """Whether raw is a number's natural logarithm."""
    mean: float = 0.0
    """Of raw over train's rows."""
    deviation: float = 1.0
    """Population standard deviation of raw over train's rows; 1 where that is 0."""


Processor = list[Feature]


def fit_processor(train: Any, task: Task, params: Tokenize) -> Processor:
    """Learn categories, means and deviations from train's rows alone.

    Numbers come as declared, then each category's values in sorted order, all of them: none is left out as a base, so
    that a row of none is an average one. The closed form and gradient descent need no independent columns.
    """
    features = [Feature(name, logarithm=name in params.logarithms) for name in task.numbers]
    for name in task.categories:
        values, counts = np.unique(_names(train[name]), return_counts=True)
        features += [Feature(name, str(v)) for v in values[counts >= params.min_category_rows]]
    raw = design_matrix(train, features)
    means, deviations = raw.mean(axis=0).tolist(), raw.std(axis=0).tolist()
    return [
        replace(feature, mean=mean, deviation=deviation or 1.0)
        for feature, mean, deviation in zip(features, means, deviations, strict=True)
    ]


def prepare(base: Path, train: pa.Table, params: Any, folder: Path) -> Processor:  # noqa: ARG001
    """The processor, made from train and kept in `folder`/processor.json."""
    processor = fit_processor(train, params.task, params.tokenize)
    write_json(folder / PROCESSOR, as_json(processor))
    return processor


def encode(table: pa.Table, processor: Processor, params: Any) -> tuple[Arrays, Metrics]:  # noqa: ARG001
    """`features` (n, d), `target` (n,) in its own unit, and `ids` (n,); rows, and the columns of features."""
    features = design_matrix(table, processor)
    arrays = {"features": features, "target": _numbers(table, TARGET), "ids": np.array(table["id"].to_pylist())}
    return arrays, {"rows": len(table), "features": len(processor)}


def design_matrix(rows: Any, processor: Processor) -> Floats:
    """Features (n, d) float64 of rows: anything with columns by name (a dict of lists, an Arrow table, a data frame).

    A category that train lacked, or none, has no indicator. Raises InputError for a missing column, for what is no
    finite number, and for a logarithm of what is not above 0.
    """
    names = dict.fromkeys(feature.column for feature in processor if feature.value is not None)
    categories = {name: _names(_column(rows, name)) for name in names}
    raw = [_raw(rows, feature, categories) for feature in processor]
    columns = [(values - f.mean) / f.deviation for values, f in zip(raw, processor, strict=True)]
    return np.stack(columns, axis=1) if columns else np.zeros((0, 0))


def _raw(rows: Any, feature: Feature, categories: Mapping[str, Any]) -> Floats:
    if feature.value is not None:
        indicator: Floats = (categories[feature.column] == feature.value).astype(np.float64)
        return indicator
    values = _numbers(rows, feature.column)
    if not feature.logarithm:
        return values
    if len(values) and values.min() <= 0:
        row = int(np.argmin(values > 0))
        raise InputError(f"row {row + 1}: {feature.column!r} is {values[row]:g}, and its logarithm is a feature")
    logarithms: Floats = np.log(values)
    return logarithms


def _column(rows: Any, name: str) -> Any:
    try:
        return rows[name]
    except KeyError:
        raise InputError(f"the column {name!r} is missing") from None


def _numbers(rows: Any, name: str) -> Floats:
    column = _column(rows, name)
    try:
        values = np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"the column {name!r} does not hold numbers alone") from None
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise InputError(f"row {row + 1}: {name!r} is not a finite number")
    return values


def _names(column: Any) -> Any:
    """Names (n,) as fetch spells them: 1, 1.0 and " 1 " are "1", true is "true"; what is missing is empty."""
    values: Sequence[Any] = column.to_pylist() if hasattr(column, "to_pylist") else list(column)
    return np.array([_spell(value) for value in values], dtype=np.str_)


def _spell(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if is_whole else str(value).strip()


def as_json(processor: Processor) -> list[dict[str, Any]]:
    """The features as plain dicts, in their order."""
    return [asdict(feature) for feature in processor]


def from_json(features: list[dict[str, Any]]) -> Processor:
    """The features that `as_json` gave."""
    return [Feature(**feature) for feature in features]
