"""A small table of made-up houses, and the params that fit it."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from bonafide.tasks.regression import params as typed

SECTIONS = {
    "task": {"name": "regression", "numbers": ["feet", "rooms", "cellar", "floor_area"], "categories": ["zip"]},
    "validate": {
        "validation_fraction": 0.1,
        "test_fraction": 0.1,
        "max_quarantine_fraction": 0.05,
        "ranges": {"target": [1, 1e8], "feet": [1, 1e6]},
        "min_rows": 30,
        "min_rows_per_value": 5,
        "max_target_correlation": 0.98,
        "max_median_ratio": 3,
    },
    "tokenize": {"logarithms": ["feet"], "min_category_rows": 3},
    "train": {
        "log_target": True,
        "solver": "gradient_descent",
        "learning_rate": "auto",
        "acceleration": "nesterov",
        "max_steps": 20000,
        "tolerance": 1e-6,
    },
    "evaluate": {"bootstrap_samples": 100, "min_slice_rows": 5, "margin": 1000, "within": 0.1},
}


def params(**changes):
    """Typed params; a change is named section__key."""
    sections = {name: dict(part) for name, part in SECTIONS.items()}
    for name, value in changes.items():
        section, key = name.split("__")
        sections[section][key] = value
    types = {name: getattr(typed, name.capitalize()) for name in sections}
    found = SimpleNamespace(**{name: TypeAdapter(types[name]).validate_python(part) for name, part in sections.items()})
    typed.check(found)
    return found


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
