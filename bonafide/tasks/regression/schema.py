"""What the table holds, which of its rows are faulty, and what must hold of all: features and target are numbers.

A mask is (n,) bool, True where a row has the fault.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bonafide.project.arrays import Bools, Floats
from bonafide.tasks.regression.params import TARGET, Task, Validate

NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
LARGEST = float(np.finfo(np.float64).max)


def columns(task: Task) -> dict[str, str]:
    """Our columns and their kinds: the target, then the features, numbers first."""
    return dict.fromkeys([TARGET, *task.numbers], "number") | dict.fromkeys(task.categories, "category")


def expectations(task: Task, limits: Validate) -> list[dict[str, Any]]:
    """Great Expectations in their serialised form, for a table from `typed`; `limits` is the validate section.

    Row-level ones tolerate the share of rows that may be set aside, and hold without tolerance of the rows passed on.
    """
    kinds, mostly = columns(task), {"mostly": 1 - limits.max_quarantine_fraction}
    found = [_expect("the columns are there", "table_columns_to_match_set", column_set=[*kinds], exact_match=False)]
    for name, kind in kinds.items():
        missing = f"every row has a {name}"
        found.append(_expect(missing, "column_values_to_not_be_null", column=name, **mostly))
        if kind == "number":
            low, high = limits.ranges.get(name, (-LARGEST, LARGEST))
            span = f"every {name} is from {low:g} to {high:g}" if name in limits.ranges else f"every {name} is finite"
            between = {"min_value": low, "max_value": high}
            found.append(_expect(f"{name} holds numbers", "column_values_to_be_of_type", column=name, type_="float64"))
            found.append(_expect(span, "column_values_to_be_between", column=name, **between, **mostly))
    return found


def _expect(description: str, name: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{name}", "kwargs": kwargs, "description": description}


def faults(table: pa.Table, task: Task, limits: Validate) -> dict[str, Bools]:
    """Each reason to set a row aside, over all of our columns; `table` is the raw one, numbers as they came."""
    found = {
        reason: np.zeros(len(table), dtype=np.bool_)
        for reason in ("missing_number", "not_a_number", "infinite_number", "out_of_range", "missing_category")
    }
    for name, kind in columns(task).items():
        if kind == "category":
            found["missing_category"] |= _mask(pc.is_null(table[name]))
            continue
        values, missing = parse(table[name])
        low, high = limits.ranges.get(name, (-np.inf, np.inf))
        found["missing_number"] |= missing
        found["not_a_number"] |= np.isnan(values) & ~missing
        found["infinite_number"] |= np.isinf(values)
        found["out_of_range"] |= np.isfinite(values) & ~((values >= low) & (values <= high))
    return found


def parse(column: pa.ChunkedArray) -> tuple[Floats, Bools]:
    """A column of any type as numbers (n,), NaN where there is none, and where it is missing: null, NaN or blank."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.int8()), pa.int8()
    if (pa.types.is_primitive(kind) and not pa.types.is_temporal(kind)) or pa.types.is_decimal(kind):
        values = _floats(column.cast(pa.float64(), safe=False))
        return values, np.isnan(values)
    written = column.cast(pa.string())
    missing = _mask(pc.fill_null(pc.equal(pc.utf8_trim_whitespace(written), ""), fill_value=True))
    numeric = pc.fill_null(pc.match_substring_regex(written, NUMBER), fill_value=False)
    known = pc.utf8_trim_whitespace(pc.if_else(numeric, written, pa.scalar(None, pa.string())))
    return _floats(known.cast(pa.float64())), missing


def typed(table: pa.Table, task: Task) -> pa.Table:
    """The table with its numbers as float64, null where a row has none or an infinite one."""
    for name, kind in columns(task).items():
        if kind == "number":
            values, _ = parse(table[name])
            column = pa.array(values, mask=~np.isfinite(values))
            table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def row_keys(table: pa.Table, task: Task) -> list[str]:
    """A name for each row of a table from `typed` that rows share which are equal in target and features.

    Where the table has no group, such rows are one, lest one of them be trained on and its copy tested.
    """
    return ["\x1f".join(row) for row in zip(*_spelled(table, task), strict=True)]


def _spelled(table: pa.Table, task: Task) -> Iterator[list[str]]:
    for name in columns(task):
        yield pc.fill_null(table[name].cast(pa.string()), "").to_pylist()


def _floats(column: pa.ChunkedArray) -> Floats:
    values: Floats = pc.fill_null(column, float("nan")).to_numpy().astype(np.float64, copy=False)
    return values


def _mask(values: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    mask: Bools = values.to_numpy().astype(np.bool_, copy=False)
    return mask
