"""A task without a rate, whose outputs are a text and a number and whose baseline has no text: measured to reported."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bonafide.tasks
from bonafide.comparison.compare import compare_pair
from bonafide.comparison.matched_rows import Pair
from bonafide.comparison.wording import notes
from bonafide.datasets import ragged
from bonafide.evaluation import predictions
from bonafide.params.load import load_params
from bonafide.params.sections import Params
from bonafide.project.errors import InputError
from bonafide.project.files import read_json, write_json
from bonafide.project.paths import (
    EVALUATION,
    FINDINGS,
    HISTORY,
    LOCK,
    MODEL,
    PREDICTIONS,
    ROWS,
    SOURCES,
    TOKENIZED,
    TRUNCATION,
    VALIDATED,
)
from bonafide.registry.serving.predictor import DRIFT, as_json, load
from stages.evaluate import evaluate
from stages.report import report
from tests.project import ROOT
from tests.report_inputs import findings, sources

SIZES = {"train": 60, "validation": 30, "test": 80, "test_other": 12}
COUNTS = {"common": 80, "base_only": 0, "head_only": 0, "targets_changed": 0, "inputs_changed": 0}


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """Params of the toy task, whose package is taken from where the tests have it, and the inputs of evaluate."""
    monkeypatch.setattr(bonafide.tasks, "__path__", [*bonafide.tasks.__path__, str(ROOT / "tests/tasks")])
    rng = np.random.default_rng(1)
    for name, size in SIZES.items():
        weights = rng.integers(100, 180, size).astype(float)
        write_split(name, weights)
    write_json(MODEL / "mean.json", 141.5)
    read = load_params(ROOT / "params.yaml")
    few = replace(read.evaluate, bootstrap_samples=100, min_slice_rows=5, margin=5)
    changes = {"task": task(), "data": replace(read.data, slices=[]), "evaluate": few, "model": None}
    return Params(**vars(read) | changes | {"compare": replace(read.compare, margin=5)})


def task():
    from bonafide.tasks.toy.params import Task

    return Task(name="toy")


def write_split(name, weights):
    VALIDATED.mkdir(parents=True, exist_ok=True)
    ids = [f"{name}-{row}" for row in range(len(weights))]
    things = [f"thing {row}" for row in range(len(weights))]
    rows = pa.table({"id": ids, "thing": things, "weight": weights, "group": ids, "split": [name] * len(ids)})
    pq.write_table(rows, VALIDATED / f"{name}.parquet")
    ragged.write(TOKENIZED / name, {"weight": weights, "ids": np.array(ids)})


def test_what_a_system_has_not_is_null_and_no_metric(toy):
    metrics = evaluate(toy)
    facts = read_json(EVALUATION)
    test = facts["splits"]["test"]
    assert (facts["rate"], [system["name"] for system in facts["systems"]]) == (None, ["model", "nothing"])
    assert facts["verdict"]["against"] == "nothing"
    assert test["systems"]["nothing"]["said"] == dict.fromkeys(("value", "low", "high"))
    assert test["systems"]["model"]["said"]["low"] <= metrics["test/said"] <= test["systems"]["model"]["said"]["high"]
    assert {name for name in metrics if name.startswith("test/")} == {"test/error", "test/said", "test/nothing/error"}
    assert "mcnemar" not in test["comparisons"]["nothing"]
    for piece in test["slices"]:
        assert piece["error"]["low"] <= piece["error"]["value"] <= piece["error"]["high"]
        assert set(piece) == {"column", "value", "rows", "small", "error"}


def test_the_pages_of_it_open_without_a_rate(toy):
    evaluate(toy)
    write_json(FINDINGS, findings(["no"], [*SIZES], []))
    write_json(SOURCES, sources("") | {"model": None})
    write_json(TRUNCATION, {name: {"rows": size} for name, size in SIZES.items()})
    HISTORY.parent.mkdir(parents=True)
    HISTORY.write_text("step,train_loss\n0,0.0\n")
    LOCK.write_text("x\n")
    report(toy)
    page, card, comment = (Path("reports", name).read_text() for name in ("index.html", "model_card.md", "report.md"))
    assert "Rows won" not in page
    assert '<td class="num">–</td>' in page  # what nothing says in words
    for text in (page, card, comment):
        assert "None" not in text
    assert "Weakest where `odd` is" in card


def test_a_metric_that_a_side_has_not_is_not_compared_and_said_so(toy):
    evaluate(toy)
    found = predictions.read(PREDICTIONS, "weight")["test"]
    pair = Pair(
        "toy", {}, found.groups, found.targets, found.systems["nothing"], found.systems["model"], [], "", COUNTS
    )
    facts = compare_pair(pair, toy.compare)
    assert [metric["name"] for metric in facts["metrics"]] == ["error"]
    assert facts["mcnemar"] is None
    seeds = {"base": 1, "head": 1, "base_sd": None, "head_sd": None}
    assert "Not compared, since a side has none: words." in notes(facts | {"unsliced": "", "seeds": seeds})
    same = compare_pair(replace(pair, base=pair.head), toy.compare)
    assert [metric["outcome"] for metric in same["metrics"]] == ["equivalent"] * 2
    assert same["undefined"] == []


def test_no_verdict_without_the_primary_metric(toy):
    evaluate(toy)
    found = predictions.read(PREDICTIONS, "weight")["test"]
    unknown = found.systems["model"].copy()
    unknown["weight"] = np.nan
    pair = Pair("toy", {}, found.groups, found.targets, unknown, found.systems["model"], [], "", COUNTS)
    with pytest.raises(InputError, match=r"^test: no row on which the mean error of both is defined$"):
        compare_pair(pair, toy.compare)


def test_a_served_model_is_compared_with_what_evaluate_has_of_it(toy):
    model = load(MODEL, {"task": "toy"})
    rows = [{"thing": "a feather"}] * 20
    outputs = model.predict(rows)
    assert model.drift(rows, json.loads(json.dumps(as_json(outputs), allow_nan=False))) == 0
    moved = outputs.copy()
    moved["weight"] *= 1.1
    assert model.drift(rows, moved) > DRIFT
    moved = outputs.copy()
    moved["words"][:2] = "flipped"
    assert model.drift(rows, moved) <= DRIFT
    moved["words"][:3] = "flipped"
    assert model.drift(rows, moved) > DRIFT
    moved["weight"] = np.nan
    assert model.drift(rows, moved) == np.inf
    assert json.dumps(as_json(moved), allow_nan=False).count("null") == 20


def test_a_row_without_inputs_is_known_by_its_target(toy, monkeypatch):
    """A language model's only column is its truth."""
    monkeypatch.setattr(type(toy.task), "columns", {"weight": "number"})
    evaluate(toy)
    assert len(set(pq.read_table(ROWS)["inputs"].to_pylist())) > 40
