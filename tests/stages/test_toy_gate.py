"""A task that is nowhere but here goes through fetch and validate: no stage and no room knows one."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pyarrow.compute as pc
import pytest

from bonafide.params.load import load_params
from bonafide.params.sections import Params, Task
from bonafide.project.errors import InputError
from bonafide.project.files import read_json
from bonafide.project.paths import BASE_MODEL, FINDINGS, SOURCES
from bonafide.quality import duplicates, figures
from bonafide.quality.checks import Check
from bonafide.quality.expectations import expect
from bonafide.quality.rows import Examined
from stages.fetch import fetch
from stages.validate import PAGE, validate
from tests.gate_inputs import read_split, reasons, refuse

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")

ROOT = Path(__file__).parents[2]


class Weights(Task):
    """Weigh things by their names."""

    columns = {"thing": "text", "weight": "number"}  # noqa: RUF012


def examine(table, params):
    weights = table["weight"].to_numpy()
    return Examined(
        table=table,
        faults={"weightless": ~(weights > 0)},
        identity=table["thing"],
        unique=True,
        near=partial(duplicates.search, table["thing"], 0.8),
        expectations=[expect("things weigh", "column_values_to_be_between", column="weight", min_value=0)],
        causes={"weightless": "task.name"},
        facts={"Scales": "calibrated"},
        metrics={"grams": float(weights[weights > 0].sum())},
    )


def checks(kept, params):
    heavy = pc.sum(pc.greater(kept["weight"], 500)).as_py()
    return [Check("heavy", "nothing is heavier than 500", "rows passed on", len(kept), heavy, passed=not heavy)]


def show(kept, splits, params):
    return [figures.histogram("Weights", kept["weight"].to_numpy())]


@pytest.fixture
def params(monkeypatch):
    task = ModuleType("bonafide.tasks.weights")
    schema, base = ModuleType("bonafide.tasks.weights.schema"), ModuleType("bonafide.tasks.weights.base")
    schema.examine, schema.checks, schema.show = examine, checks, show
    base.check = print
    for module in (task, schema, base):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    default = load_params(ROOT / "params.yaml")
    data = replace(default.data, source="t.jsonl", downloads=[], columns={"thing": "name"}, slices=[])
    return Params(**vars(default) | {"task": Weights(name="weights"), "data": data, "model": None})


def write(rows):
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def things(rows=300):
    return [{"name": f"{chr(97 + i % 26) * 9} number {i * i} of {i}", "weight": 1 + i % 400} for i in range(rows)]


def test_it_has_its_own_columns_faults_checks_and_figures(params):
    rows = things()
    rows[0]["weight"], rows[1]["weight"], rows[3]["name"] = 0, "heavy", rows[2]["name"]
    write(rows)
    fetch(params)
    metrics = validate(params)
    assert reasons() == {"1": {"weightless"}, "2": {"weightless"}, "4": {"duplicate"}}
    assert metrics["validate/grams"] == sum(row["weight"] for row in rows[2:])
    kept = [row for name in ("train", "validation", "test") for row in read_split(name)]
    assert len(kept) == 297
    assert set(kept[0]) == {"id", "thing", "weight", "group"}
    facts = read_json(FINDINGS)
    assert facts["facts"] == {
        "Scales": "calibrated",
        "Near-duplicates between test sets": "0 (kept: none is trained on)",
    }
    assert [figure["title"] for figure in facts["figures"]] == ["Rows in each split", "Weights"]
    page = PAGE.read_text(encoding="utf-8")
    assert "calibrated" in page
    assert "Weightless" in page
    assert read_json(SOURCES)["model"] is None
    assert [path.name for path in BASE_MODEL.iterdir()] == ["none.txt"]


def test_what_it_refuses_is_one_line(params):
    write([*things(), {"name": "a whale", "weight": 501}])
    fetch(params)
    [line] = refuse(params)
    assert (
        line
        == f"heavy, rows passed on: expected that nothing is heavier than 500; 1 of 301 fail (none may); see {PAGE}"
    )


def test_a_column_that_the_table_lacks_is_named(params):
    write([{"name": "a", "mass": 1}])
    with pytest.raises(InputError, match=r"^t.jsonl: no column 'weight' \(task\); the header is 'name', 'mass'$"):
        fetch(params)
