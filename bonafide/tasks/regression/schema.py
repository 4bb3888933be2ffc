"""What may be wrong with a table of numbers and categories from which a number is predicted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bonafide.project.arrays import Bools
from bonafide.quality import figures, tabular
from bonafide.quality.checks import Check
from bonafide.quality.expectations import Expectation, expect
from bonafide.quality.figures import Figure
from bonafide.quality.rows import Examined
from bonafide.tasks.regression.params import TARGET, Task, Validate

LARGEST = float(np.finfo(np.float64).max)


def examine(table: pa.Table, params: Any) -> Examined:
    """Faults of each column.

    Rows that are equal in target and features all stay, since two houses may well be. Where the table has no group they
    are one, lest one of them be trained on and its copy tested.
    """
    columns = [table[name].cast(pa.string()) for name in params.task.columns]
    return Examined(
        table=table,
        faults=faults(table, params.task, params.validate),
        identity=pc.binary_join_element_wise(*columns, "\x1f", null_handling="replace", null_replacement=""),
        unique=False,
        expectations=expectations(params.task, params.validate),
        causes={"out_of_range": "validate.ranges"},
    )


def faults(table: pa.Table, task: Task, limits: Validate) -> dict[str, Bools]:
    """Each reason to set a row aside, over all of our columns."""
    found = {
        reason: np.zeros(len(table), dtype=np.bool_)
        for reason in ("missing_number", "not_a_number", "infinite_number", "out_of_range", "missing_category")
    }
    for name, kind in task.columns.items():
        missing = pc.is_null(table[name]).to_numpy()
        if kind == "category":
            found["missing_category"] |= missing
            continue
        values = table[name].to_numpy()
        low, high = limits.ranges.get(name, (-np.inf, np.inf))
        found["missing_number"] |= missing
        found["not_a_number"] |= np.isnan(values) & ~missing
        found["infinite_number"] |= np.isinf(values)
        found["out_of_range"] |= np.isfinite(values) & ~((values >= low) & (values <= high))
    return found


def expectations(task: Task, limits: Validate) -> list[Expectation]:
    """What a table must hold; row by row but for the share that quarantine may take (`mostly`)."""
    mostly: dict[str, Any] = {"mostly": 1 - limits.max_quarantine_fraction}
    found = [
        expect("the columns are there", "table_columns_to_match_set", column_set=[*task.columns], exact_match=False)
    ]
    for name, kind in task.columns.items():
        found.append(expect(f"no value of {name} is missing", "column_values_to_not_be_null", column=name, **mostly))
        if kind == "number":
            low, high = limits.ranges.get(name, (-LARGEST, LARGEST))
            span = f"from {low:,.15g} to {high:,.15g}" if name in limits.ranges else "finite"
            between: dict[str, Any] = {"column": name, "min_value": low, "max_value": high}
            found.append(
                expect(f"values of {name} are numbers", "column_values_to_be_of_type", column=name, type_="float64")
            )
            found.append(expect(f"values of {name} are {span}", "column_values_to_be_between", **between, **mostly))
    return found


def checks(kept: pa.Table, params: Any) -> list[Check]:
    """Enough rows, columns that say something and not all, units that stay; what else a reader should know."""
    limits = params.validate
    parts = {name: kept.filter(pc.equal(kept["split"], name)) for name in pc.unique(kept["split"]).to_pylist()}
    enough = tabular.check_rows(parts, limits.min_rows)
    if not enough.passed:
        return [enough]
    train = parts.pop("train")
    target, numbers = train[TARGET].to_numpy(), {name: train[name].to_numpy() for name in params.task.numbers}
    categories = {name: train[name].combine_chunks().dictionary_encode() for name in params.task.categories}
    every = {TARGET: target} | numbers
    return [
        enough,
        tabular.check_constants(numbers, categories, target),
        tabular.check_leaks(numbers, categories, target, limits.max_target_correlation),
        tabular.check_ids(categories, limits.min_rows_per_value),
        *(tabular.check_units(name, part, every, limits.max_median_ratio) for name, part in sorted(parts.items())),
        tabular.report_collinearity(numbers),
        tabular.report_outliers(every),
        *(tabular.report_unseen(name, part, categories) for name, part in sorted(parts.items())),
    ]


def show(kept: pa.Table, splits: Sequence[str], params: Any) -> list[Figure]:  # noqa: ARG001
    """The target, and each number."""
    return [figures.histogram(name, kept[name].to_numpy()) for name in (TARGET, *params.task.numbers)]
