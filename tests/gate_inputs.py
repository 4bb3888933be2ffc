"""Tables for the gate, and what it leaves: the real stage function on real Parquet files."""

import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bonafide.params.load import load_params
from bonafide.project.errors import InputError
from bonafide.project.files import read_json
from bonafide.project.paths import FINDINGS, QUARANTINE, RAW_TABLE, VALIDATED
from stages.validate import PAGE, validate

WORDS = ["".join(random.Random(i).choices("abcdefghijklmnopqrstuvwxyz", k=3 + i % 6)) for i in range(3000)]


def default_params():
    """The default job's, with two slices."""
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    return replace(params, data=replace(params.data, slices=["domain", "rating"]))


def limits(params, **changes):
    return replace(params, validate=replace(params.validate, **changes))


def make(rows=600, seed=0):
    chance = random.Random(seed)
    return [
        {
            "id": f"r{i}", "text": " ".join(chance.choices(WORDS, k=12)), "label": ("negative", "positive")[i % 2],
            "group": f"g{i // 2}", "split": None, "domain": ("films", "phones")[i % 3 == 0], "rating": i / 10,
        }
        for i in range(rows)
    ]  # fmt: skip


def write(rows, drop=()):
    RAW_TABLE.parent.mkdir(parents=True, exist_ok=True)
    kinds = dict.fromkeys(("id", "text", "label", "group", "split", "domain"), pa.string()) | {"rating": pa.float64()}
    schema = pa.schema([(name, kind) for name, kind in kinds.items() if name not in drop])
    pq.write_table(pa.Table.from_pylist(rows, schema), RAW_TABLE)


def reasons():
    return {
        row["id"]: set(row["reasons"])
        for row in pq.read_table(QUARANTINE if QUARANTINE.exists() else FINDINGS.with_name(QUARANTINE.name)).to_pylist()
    }


def read_split(name):
    return pq.read_table(VALIDATED / f"{name}.parquet").to_pylist()


def refuse(params):
    with pytest.raises(InputError) as error:
        validate(params)
    assert not VALIDATED.exists()
    assert not read_json(FINDINGS)["passed"]
    assert all(str(PAGE) in line for line in str(error.value).splitlines())
    return str(error.value).splitlines()
