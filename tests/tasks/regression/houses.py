"""A small table of made-up houses, and the params that fit it."""

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from bonafide.tasks.regression.params import Task

PARAMS = {
    "name": "regression",
    "schema": {
        "numbers": ["feet", "rooms", "cellar", "floor_area"],
        "categories": ["zip"],
        "ranges": {"target": [1, 1e8], "feet": [1, 1e6]},
        "min_rows": 30,
        "min_rows_per_value": 5,
        "max_target_correlation": 0.98,
        "max_median_ratio": 3,
    },
    "encode": {"logarithms": ["feet"], "min_category_rows": 3},
    "model": {
        "log_target": True,
        "solver": "gradient_descent",
        "learning_rate": "auto",
        "acceleration": "nesterov",
        "max_steps": 20000,
        "tolerance": 1e-6,
    },
    "score": {"within": 0.1},
}


def task(**changes):
    """Typed params; a change is named section__key."""
    params = {name: dict(part) if isinstance(part, dict) else part for name, part in PARAMS.items()}
    for name, value in changes.items():
        section, key = name.split("__")
        params[section][key] = value
    return TypeAdapter(Task).validate_python(params)


def table(rows=400, seed=1):
    """`floor_area` = `feet` + `cellar` in every row; the price depends on all but the noise."""
    rng = np.random.default_rng(seed)
    feet, cellar = rng.integers(500, 5000, rows).astype(float), rng.integers(1, 900, rows).astype(float)
    rooms, zips = rng.integers(1, 7, rows).astype(float), rng.integers(0, 5, rows)
    price = 120 * feet**0.9 * np.exp(0.1 * rooms + np.array([0.4, 0.1, 0, -0.2, 0.2])[zips] + rng.normal(0, 0.1, rows))
    split = np.where(np.arange(rows) % 10 == 0, "test", np.where(np.arange(rows) % 10 == 1, "validation", "train"))
    return pa.table(
        {
            "id": [f"h{i}" for i in range(rows)],
            "target": price,
            "feet": feet,
            "rooms": rooms,
            "cellar": cellar,
            "floor_area": feet + cellar,
            "zip": [str(98001 + z) for z in zips],
            "split": split,
        }
    )


def put(table, name, values):
    """The table with another column `name`."""
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


def parts(table):
    """The splits of a table by name."""
    names = np.array(table["split"].to_pylist())
    return {name: table.filter(pa.array(names == name)) for name in ("train", "validation", "test")}
