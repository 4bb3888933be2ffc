"""The evaluate stage on a real, tiny model: what it stores, what it says, and that both agree."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef
from transformers import AutoModelForSequenceClassification

from bonafide.datasets import ragged
from bonafide.evaluation import predictions, row_facts
from bonafide.evaluation.predictions import Predictions
from bonafide.params.load import load_params
from bonafide.pretrained import tokenizer
from bonafide.project.errors import InputError
from bonafide.project.files import read_json, write_json
from bonafide.project.paths import BASE_MODEL, EVALUATION, MODEL, PREDICTIONS, REPORTS, ROWS, TOKENIZED, VALIDATED
from bonafide.project.randomness import generator
from bonafide.protocol import Split
from stages.evaluate import cut_up, evaluate, measure
from tests.project import ROOT, reviews
from tests.tiny_model import build_tiny_model

LABELS = ["negative", "positive"]
SYSTEMS = ["model", "shell", "tfidf", "majority"]
SIZES = {"train": 120, "validation": 40, "test": 60, "test_other": 24}
ESTIMATE = {"value", "low", "high"}


def params():
    read = load_params(ROOT / "params.yaml")
    few = replace(read.evaluate, bootstrap_samples=100, min_slice_rows=15)
    return replace(read, data=replace(read.data, slices=["domain", "rating"]), evaluate=few)


def table(split, rows):
    """Rows of a split, two to a group; the held-out split has one class."""
    rows = [row for row in rows if split != "test_other" or row["label"] == "positive"]
    return pa.table(
        {
            "id": [f"{split}-{index}" for index in range(len(rows))],
            "text": [row["text"] for row in rows],
            "label": [row["label"] for row in rows],
            "group": [f"{split}-{index // 2}" for index in range(len(rows))],
            "domain": [row["domain"] for row in rows],
            "rating": pa.array([None if index % 9 == 0 else index * 0.1 for index in range(len(rows))]),
        }
    )


def write_split(split, rows, processor):
    VALIDATED.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, VALIDATED / f"{split}.parquet")
    texts, _ = tokenizer.encode(rows["text"].to_pylist(), processor, 32)
    targets = np.array([LABELS.index(label) for label in rows["label"].to_pylist()])
    ragged.write(TOKENIZED / split, ragged.pack(texts, targets, rows["id"].to_pylist()).arrays)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The inputs of the stage, made once."""
    folder = tmp_path_factory.mktemp("inputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        rows = reviews(sum(SIZES.values()))
        build_tiny_model(BASE_MODEL, [row["text"] for row in rows])
        AutoModelForSequenceClassification.from_pretrained(BASE_MODEL, num_labels=2).save_pretrained(MODEL)
        shutil.copytree(BASE_MODEL, TOKENIZED / "processor")
        write_json(TOKENIZED / "labels.json", LABELS)
        processor = tokenizer.load(BASE_MODEL)
        start = 0
        for split, size in SIZES.items():
            write_split(split, table(split, rows[start : start + size]), processor)
            start += size
    return folder


@pytest.fixture(scope="module")
def outputs(made):
    """What the stage makes of them: its metrics, and the folder where its files are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        return evaluate(params()), made


@pytest.fixture
def inputs(made, tmp_path):
    """A copy of the inputs in the test's own folder."""
    shutil.copytree(made / "data", tmp_path / "data")
    shutil.copytree(made / "models", tmp_path / "models")


def measured(systems, labels, order=None, **changes):
    """evaluation.json of made-up probabilities for a test split of as many rows, two to a group."""
    order = np.arange(len(labels)) if order is None else order
    rows = table("test", reviews(len(labels))).take(order)
    targets = np.array(LABELS, dtype=object)[labels[order]]
    rows = rows.set_column(2, "label", pa.array(targets))
    found = Predictions(
        rows["id"].to_pylist(), rows["group"].to_pylist(), targets, {k: v[order] for k, v in systems.items()}
    )
    tokens = ragged.pack([[1] * (3 + int(row) % 20) for row in order], labels[order], found.ids)
    chosen = replace(params(), evaluate=replace(params().evaluate, bootstrap_samples=400, **changes))
    split = Split(rows, tokens.arrays)
    return measure(chosen, {"test": split}, {"test": found}, {"test": cut_up(split, chosen)})


def panel(split, title):
    return next(one for one in split["panels"] if one["title"] == title)


def sure(labels, share, seed):
    """Probabilities that are right in about `share` of the rows."""
    rng = generator(seed)
    right = np.where(rng.random(len(labels)) < share, labels, 1 - labels)
    confidence = rng.uniform(0.6, 0.99, len(labels))
    positive = np.where(right == 1, confidence, 1 - confidence)
    return np.stack([1 - positive, positive], axis=1)


def ladder(labels, model, shell):
    return {
        "model": model,
        "shell": shell,
        "tfidf": sure(labels, 0.7, 8),
        "majority": np.tile([0.5, 0.5], (len(labels), 1)),
    }


def test_metrics_are_those_of_the_stored_probabilities(outputs):
    metrics, folder = outputs
    stored = pq.read_table(folder / PREDICTIONS)
    assert stored.column_names == ["id", "split", "group", "label", *SYSTEMS]
    for split in ("validation", "test"):
        rows = stored.filter(pa.compute.equal(stored["split"], split))
        labels = np.array([LABELS.index(label) for label in rows["label"].to_pylist()])
        for system in SYSTEMS:
            probabilities = np.array(rows[system].to_pylist())
            found = probabilities.argmax(axis=1)
            prefix = split if system == "model" else f"{split}/{system}"
            assert metrics[f"{prefix}/accuracy"] == pytest.approx(accuracy_score(labels, found))
            assert metrics[f"{prefix}/f1_macro"] == pytest.approx(f1_score(labels, found, average="macro"))
            all_metrics = read_json(folder / EVALUATION)["splits"][split]["systems"][system]
            assert all_metrics["mcc"]["value"] == pytest.approx(matthews_corrcoef(labels, found))
            assert all_metrics["log_loss"]["value"] == pytest.approx(log_loss(labels, probabilities))


def test_every_row_but_those_of_train_is_stored_with_probabilities_that_sum_to_1(outputs):
    _, folder = outputs
    stored = predictions.read(folder / PREDICTIONS, "label")
    assert {split: len(found.ids) for split, found in stored.items()} == {
        "validation": 40,
        "test": 60,
        "test_other": 12,
    }
    for found in stored.values():
        assert list(found.systems) == SYSTEMS
        for probabilities in found.systems.values():
            assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-12)


def test_the_model_is_the_one_that_was_trained(outputs):
    _, folder = outputs
    tokens = ragged.read_tokens(folder / TOKENIZED / "test")
    model = AutoModelForSequenceClassification.from_pretrained(folder / MODEL)
    with torch.inference_mode():
        alone = [
            model(torch.tensor(tokens.input_ids[None, tokens.offsets[i] : tokens.offsets[i + 1]].astype(np.int64)))
            .logits.softmax(-1)[0]
            .tolist()
            for i in range(9)
        ]
    assert predictions.read(folder / PREDICTIONS, "label")["test"].systems["model"][:9] == pytest.approx(
        np.array(alone), abs=1e-6
    )


def test_tfidf_and_the_shell_learn_what_words_tell(outputs):
    metrics, _ = outputs
    assert metrics["test/tfidf/f1_macro"] > 0.9
    assert metrics["test/shell/f1_macro"] > metrics["test/majority/f1_macro"] + 0.2


def test_evaluation_json_has_what_the_report_reads(outputs):
    _, folder = outputs
    facts = read_json(folder / EVALUATION)
    assert (facts["metrics"][0]["name"], facts["settings"]["labels"]) == ("f1_macro", LABELS)
    assert [system["name"] for system in facts["systems"]] == SYSTEMS
    assert set(facts["splits"]) == {"validation", "test", "test_other"}
    for name, split in facts["splits"].items():
        assert split["held_out"] == (name == "test_other")
        assert split["groups"] == split["rows"] // 2
        confusion, classes = panel(split, "Confusion")["counts"], panel(split, "By class")["rows"]
        assert (
            sum(map(sum, confusion)) == split["rows"] == sum(b["rows"] for b in panel(split, "Calibration")["points"])
        )
        assert [[label, sum(row)] for label, row in zip(LABELS, confusion, strict=True)] == [row[:2] for row in classes]
        assert set(split["comparisons"]) == set(SYSTEMS[1:])
        for metrics in split["systems"].values():
            assert list(metrics) == sorted(metric["name"] for metric in facts["metrics"])
            for found in metrics.values():
                assert set(found) == ESTIMATE
                assert found["low"] <= found["high"]
        for column in ("domain", "rating", "length", "negation"):
            pieces = [piece for piece in split["slices"] if piece["column"] == column]
            assert sum(piece["rows"] for piece in pieces) == split["rows"]
            assert all(piece["small"] == (piece["rows"] < 15) for piece in pieces)
            assert all(set(piece["accuracy"]) == ESTIMATE for piece in pieces)
        assert any(one["kind"] == "samples" for one in split["panels"]) == (name == "test")
    assert set(facts["verdict"]) == {
        "outcome", "sentence", "metric", "split", "against", "difference", "low", "high", "p_value", "margin", "alpha",
        "interval", "tost",
    }  # fmt: skip


def test_a_split_of_one_class_is_measured(outputs):
    metrics, folder = outputs
    found = read_json(folder / EVALUATION)["splits"]["test_other"]
    (first, (_, right)), rows = panel(found, "Confusion")["counts"], found["rows"]
    assert first == [0, 0]
    assert metrics["test_other/f1_macro"] == pytest.approx(2 * right / (right + rows))
    label, in_class, _, recall, *_ = panel(found, "By class")["rows"][0]
    assert (label, in_class, recall) == ("negative", 0, {"value": 0, "low": 0, "high": 1})


def test_errors_are_the_wrong_test_rows_the_most_confident_first(outputs):
    _, folder = outputs
    found = read_json(folder / EVALUATION)["splits"]["test"]
    mistakes, confusion = panel(found, "The surest mistakes"), np.array(panel(found, "Confusion")["counts"])
    errors = mistakes["rows"]
    assert len(errors) == confusion.sum() - np.trace(confusion)
    assert [row[3] for row in errors] == sorted((row[3] for row in errors), reverse=True)
    texts = pq.read_table(folder / VALIDATED / "test.parquet")
    rows = dict(
        zip(
            texts["id"].to_pylist(),
            zip(texts["text"].to_pylist(), texts["label"].to_pylist(), strict=True),
            strict=True,
        )
    )
    for row, (text, label, predicted, _) in zip(mistakes["ids"], errors, strict=True):
        assert rows[row] == (text, label)
        assert predicted != label


def test_the_plot_tells_the_same_as_the_evaluation(outputs):
    _, folder = outputs
    found = read_json(folder / EVALUATION)["splits"]["test"]
    with (folder / REPORTS / "evaluate" / "scatter.csv").open(newline="") as file:
        points = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert points == [{name: row[name] for name in ("x", "y")} for row in panel(found, "Calibration")["points"]]


def test_the_slices_of_each_row_are_those_that_were_measured(outputs):
    _, folder = outputs
    for split, found in read_json(folder / EVALUATION)["splits"].items():
        facts = row_facts.read(folder / ROWS, split)
        assert facts["id"].to_pylist() == pq.read_table(folder / VALIDATED / f"{split}.parquet")["id"].to_pylist()
        assert len(set(facts["inputs"].to_pylist())) == found["rows"]  # no text is there twice
        order = [(piece["column"], piece["value"]) for piece in found["slices"]]
        sizes = [len(piece.rows) for piece in row_facts.slices(facts, order)]
        assert sizes == [piece["rows"] for piece in found["slices"]]


def test_the_same_inputs_give_the_same_bytes(outputs, inputs):
    metrics, folder = outputs
    assert evaluate(params()) == metrics
    for path in sorted((folder / REPORTS).rglob("*.*")):
        assert (REPORTS / path.relative_to(folder / REPORTS)).read_bytes() == path.read_bytes(), path.name


def test_tables_of_other_rows_than_the_tokens_are_refused(inputs):
    path = VALIDATED / "test.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(InputError, match=r"data/validated/test\.parquet: holds other rows than data/tokenized/test"):
        evaluate(params())


def test_a_perfect_model_scores_ideal():
    labels = np.arange(200) % 2
    facts = measured(ladder(labels, np.eye(2)[labels], sure(labels, 0.7, 1)), labels)["splits"]["test"]
    values = {name: found["value"] for name, found in facts["systems"]["model"].items()}
    ideal = dict.fromkeys(("accuracy", "precision_macro", "recall_macro", "f1_macro", "mcc"), 1.0)
    assert values == ideal | dict.fromkeys(("log_loss", "brier", "calibration_error"), 0.0)
    assert panel(facts, "The surest mistakes")["rows"] == []
    assert all(piece["accuracy"]["value"] == piece["f1_macro"]["value"] == 1 for piece in facts["slices"])


def test_the_order_of_rows_changes_nothing_that_is_said():
    labels = generator(2).integers(2, size=200)
    systems = ladder(labels, sure(labels, 0.9, 3), sure(labels, 0.8, 4))
    first, second = measured(systems, labels), measured(systems, labels, order=generator(5).permutation(200))
    assert flat(second) == pytest.approx(flat(first), abs=1e-9)


def flat(tree, prefix=""):
    """Every leaf of a JSON tree by its path, so that numbers can be compared approximately."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        return {prefix: tree}
    return {path: leaf for key, value in items for path, leaf in flat(value, f"{prefix}/{key}").items()}


def verdict(model, shell, margin=0.01, rows=400):
    labels = generator(6).integers(2, size=rows)
    first = sure(labels, shell, 7)
    second = first if model == "the shell" else sure(labels, model, 9)
    return measured(ladder(labels, second, first), labels, margin=margin)["verdict"]


def test_a_model_that_is_its_shell_adds_nothing():
    found = verdict("the shell", 0.8)
    assert (found["difference"], found["low"], found["high"], found["p_value"]) == (0, 0, 0, 1)
    assert found["outcome"] == "equivalent"


@pytest.mark.parametrize(
    ("model", "shell", "margin", "outcome", "words"),
    [
        (0.95, 0.70, 0.01, "improved", "all of it above the margin of 0.01"),
        (0.95, 0.70, 0.25, "improved", "which may be less than the margin of 0.25"),
        (0.70, 0.95, 0.01, "regressed", "not worth its cost"),
        (0.80, 0.80, 0.01, "not enough evidence", "not enough evidence"),
        (0.80, 0.80, 0.25, "equivalent", "within the margin of 0.25"),
    ],
)
def test_the_verdict_says_what_the_difference_allows(model, shell, margin, outcome, words):
    found = verdict(model, shell, margin)
    assert found["outcome"] == outcome
    assert words in found["sentence"]
    assert f"{found['difference']:.3f}" in found["sentence"]


def test_a_handful_of_groups_is_not_enough_evidence_however_large_the_difference():
    labels = np.arange(8) % 2
    found = measured(ladder(labels, np.eye(2)[labels], np.eye(2)[1 - labels]), labels)["verdict"]
    assert found["low"] > 0
    assert found["outcome"] == "not enough evidence"
