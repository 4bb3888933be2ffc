"""`bonafide compare` on real revisions: how rows are matched, what is refused, what it prints and returns."""

import json
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt
from ruamel.yaml import YAML
from typer.testing import CliRunner

from bonafide.cli.app import app
from bonafide.comparison.compare import compare
from bonafide.comparison.markdown_table import render
from bonafide.evaluation import predictions, row_facts
from bonafide.evaluation.predictions import Predictions
from bonafide.evaluation.slices import cut
from bonafide.params.load import load_params
from bonafide.project.errors import InputError
from bonafide.project.files import write_json
from bonafide.project.paths import EVALUATION, PREDICTIONS, ROWS
from bonafide.project.randomness import generator
from bonafide.provenance.revisions import resolve, workspace
from tests.project import ROOT
from tests.reporting.test_markdown import ATTACKS

COUNT = 300
LABELS = ["negative", "positive"]
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(subject):
    run("git", "add", "-A", "-f")
    run("git", "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "-m", subject)


def rows_of(count=COUNT, strength=1.5):
    """Rows as evaluate and validate would write them; those of another strength differ in their scores alone."""
    rng = generator(1)
    noise, labels = rng.normal(size=count), rng.integers(2, size=count)
    positive = 1 / (1 + np.exp(-(2 * labels - 1) * strength - 2 * noise))
    return {
        "id": [f"r{i}" for i in range(count)],
        "text": [f"text {i}" for i in range(count)],
        "label": [LABELS[label] for label in labels],
        "group": [f"g{i // 3}" for i in range(count)],
        "domain": [f"d{i % 4}" for i in range(count)],
        "model": np.stack([1 - positive, positive], axis=1),
    }


def take(rows, order):
    return {name: column[order] if name == "model" else [column[i] for i in order] for name, column in rows.items()}


def write(rows, labels=LABELS, *, own_ids=True):
    """The files of one revision that compare reads."""
    order = [LABELS.index(label) if label in LABELS else 0 for label in labels]
    targets = np.array(rows["label"], dtype=object)
    split = Predictions(rows["id"], rows["group"], targets, {"model": rows["model"][:, order]})
    predictions.write(PREDICTIONS, "label", {"test": split})
    table = pa.table({name: rows[name] for name in ("id", "text", "domain")})
    pieces = cut(table, ["domain"], {})
    listed = [{"column": piece.column, "value": piece.value} for piece in pieces]
    settings = {"labels": labels, "calibration_bins": 10}
    write_json(EVALUATION, {"task": "classification", "settings": settings, "splits": {"test": {"slices": listed}}})
    hashes = [row_facts.fingerprint([text]) for text in rows["text"]]
    row_facts.write(ROWS, {"test": row_facts.table(rows["id"], hashes, pieces)})
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["compare"] |= {"samples": 1000}
    if not own_ids:
        del params["data"]["columns"]["id"]
    with Path("params.yaml").open("w") as file:
        yaml.dump(params, file)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository whose main branch holds the rows of strength 1.5."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run("git", "init", "-q", "-b", "main")
        run("dvc", "init", "-q")
        Path("dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
        write(rows_of())
        commit("Start")
    return folder


@pytest.fixture(autouse=True)
def clean(request, monkeypatch):
    """Each test starts from main's files."""
    if "repository" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("repository"))
        run("git", "checkout", "-q", "--force", "main")


def judged(head=None):
    return compare(resolve("main"), head or workspace(), load_params().compare)


pytestmark = pytest.mark.slow


def test_the_same_predictions_are_equivalent_and_pass(repository):
    facts = judged()
    assert facts["rows"] == {"common": 300, "base_only": 0, "head_only": 0, "targets_changed": 0, "inputs_changed": 0}
    assert (facts["base"]["name"], facts["head"]) == ("main", {"name": "workspace", "commit": ""})
    assert facts["base"]["commit"] == run("git", "rev-parse", "main").strip()
    assert facts["verdict"]["outcome"] == "equivalent"
    assert {metric["p_value"] for metric in facts["metrics"]} == {1}
    assert {piece["column"] for piece in facts["slices"]} == {"domain"}
    assert facts["gate"] == {"passed": True, "reasons": []}


def test_rows_that_differ_are_counted_and_the_common_ones_compared(repository):
    rows = take(rows_of(), [*range(10, COUNT), *range(5)])
    rows["id"][-5:] = [f"new{i}" for i in range(5)]
    flipped = {LABELS[0]: LABELS[1], LABELS[1]: LABELS[0]}
    rows["label"][:3] = [flipped[label] for label in rows["label"][:3]]
    rows["text"][5:7] = ["another", "text"]
    write(rows)
    facts = judged()
    assert facts["rows"] == {"common": 290, "base_only": 10, "head_only": 5, "targets_changed": 3, "inputs_changed": 2}
    assert facts["notes"][0].startswith("The test rows differ: 10 are in the base only; 5 are in the head only; 3 have")
    assert facts["metrics"][0]["difference"] == 0  # both are judged by the head's labels
    assert sum(piece["rows"] for piece in facts["slices"] if piece["column"] == "domain") == 290


def test_the_order_of_rows_and_of_labels_changes_nothing_at_all(repository):
    write(rows_of(strength=1.2))
    expected = judged()
    order = generator(3).permutation(COUNT).tolist()
    write(take(rows_of(strength=1.2), order), labels=LABELS[::-1])
    assert json.dumps(judged()) == json.dumps(expected)


def test_rows_without_ids_are_matched_by_their_inputs(repository):
    def numbered(rows):
        return rows | {"id": [str(i + 1) for i in range(len(rows["id"]))]}

    write(numbered(rows_of()), own_ids=False)
    commit("Without ids")
    base = resolve("HEAD")
    rows = take(rows_of(), [5, *range(COUNT)])
    rows["text"][0] = "a new first row, by which every number is another"
    write(numbered(rows), own_ids=False)
    try:
        facts = compare(base, workspace(), load_params().compare)
        assert facts["rows"] == {
            "common": 300,
            "base_only": 0,
            "head_only": 1,
            "targets_changed": 0,
            "inputs_changed": 0,
        }
        assert facts["metrics"][0]["difference"] == 0
        ROWS.unlink()
        with pytest.raises(
            InputError, match=r"matched by their inputs, but reports/evaluate/rows\.parquet: No such file"
        ):
            compare(base, workspace(), load_params().compare)
    finally:
        run("git", "reset", "-q", "--hard", "HEAD~1")


def test_a_gain_and_a_loss_are_called_so(repository):
    write(rows_of(strength=2.6))
    facts = judged()
    assert (facts["verdict"]["outcome"], facts["gate"]["passed"]) == ("improved", True)
    write(rows_of(strength=0.4))
    facts = judged()
    assert (facts["verdict"]["outcome"], facts["gate"]["passed"]) == ("regressed", False)
    assert facts["gate"]["reasons"][0] == facts["verdict"]["sentence"]
    assert " slices regressed, the most where " in facts["gate"]["reasons"][1]


def test_a_table_that_is_not_at_hand_costs_the_slices_and_says_so(repository):
    ROWS.unlink()
    facts = judged()
    assert (facts["slices"], facts["rows"]["inputs_changed"]) == ([], None)
    reason = "The slices cannot be judged: reports/evaluate/rows.parquet: No such file or directory."
    assert facts["gate"] == {"passed": False, "reasons": [reason]}


def test_other_labels_are_refused(repository):
    rows = rows_of()
    rows["label"] = ["neutral" if label == "negative" else label for label in rows["label"]]
    write(rows, labels=["neutral", "positive"])
    with pytest.raises(InputError, match=r"^main and workspace have different labels: 'negative', 'positive' and 'n"):
        judged()


def test_rows_of_another_test_set_are_refused(repository):
    write(rows_of() | {"id": [f"other{i}" for i in range(COUNT)]})
    with pytest.raises(InputError, match=r"^main and workspace: none of their rows of test are the same$"):
        judged()


def nothing(path):
    path.unlink()


def garbage(path):
    path.write_bytes(b"PAR1 not at all")


def other_columns(path):
    pq.write_table(pa.table({"split": ["test"]}), path)


def not_a_number(path):
    rows = rows_of()
    rows["model"][7] = np.nan
    write(rows)


def twice(path):
    rows = rows_of()
    rows["id"][7] = "r6"
    write(rows)


def without_group(path):
    write(rows_of() | {"group": [None, *rows_of()["group"][1:]]})


def without_test(path):
    rows = rows_of(50)
    targets = np.array(rows["label"], dtype=object)
    predictions.write(path, "label", {"validation": Predictions(rows["id"], rows["group"], targets, {})})


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (nothing, "reports/evaluate/predictions.parquet: No such file"),
        (garbage, "workspace: reports/evaluate/predictions.parquet: not what evaluate writes"),
        (other_columns, "workspace: reports/evaluate/predictions.parquet: not what evaluate writes"),
        (not_a_number, "reports/evaluate/predictions.parquet: the column 'model': no probabilities"),
        (twice, "the id 'r6' is there twice"),
        (without_group, "workspace: reports/evaluate/predictions.parquet: a row has no id or no group"),
        (without_test, "has no split 'test', but validation"),
    ],
)
def test_predictions_that_are_none_are_refused_by_name(repository, harm, says):
    harm(PREDICTIONS)
    with pytest.raises(InputError) as caught:
        judged()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_base_without_predictions_is_named(repository):
    run("git", "checkout", "-q", "--detach")
    PREDICTIONS.unlink()
    commit("No predictions")
    base = resolve("HEAD")
    run("git", "checkout", "-q", "main")
    with pytest.raises(InputError, match=r"^HEAD: reports/evaluate/predictions\.parquet is neither in git nor in DVC"):
        compare(base, workspace(), load_params().compare)


def test_an_older_base_without_a_policy_is_judged_by_todays(repository):
    run("git", "checkout", "-q", "--detach")
    path = Path("params.yaml")
    today = path.read_text()
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(today)
    del params["compare"]
    with path.open("w") as file:
        yaml.dump(params, file)
    commit("Before there was a policy")
    base = resolve("HEAD")
    path.write_text(today)
    assert compare(base, workspace(), load_params().compare)["gate"]["passed"]


def outline(markdown):
    """Every block with the kinds of what is in its lines."""
    blocks = []
    for token in PARSER.parse(markdown):
        kinds = ["text" if child.type == "text_special" else child.type for child in token.children or []]
        blocks.append((token.type, [kind for kind, _ in groupby(kinds)]))
    return blocks


def hostile(facts, words):
    """The same facts with somebody's words wherever somebody's words can be."""
    changed = json.loads(json.dumps(facts))
    changed["base"]["name"] = changed["head"]["name"] = words
    for piece in changed["slices"]:
        piece["column"], piece["value"] = words, words
    changed["gate"]["reasons"] = [f"{reason} {words}" for reason in changed["gate"]["reasons"]]
    changed["notes"] = [f"{note} {words}" for note in changed["notes"]]
    changed["verdict"]["sentence"] += f" {words}"
    return changed


def test_words_of_others_are_inert_in_markdown(repository):
    write(rows_of(strength=1.0))
    facts = judged()
    outcomes = {piece["outcome"] for piece in facts["slices"]}
    expected = outline(render(hostile(facts, "words")))
    assert [block for block, _ in expected].count("table_open") == 3, outcomes  # metrics, lost slices, the others
    for attack in ATTACKS:
        assert outline(render(hostile(facts, attack))) == expected, attack


def test_the_command_answers_with_its_exit_code_and_three_kinds_of_text(repository):
    line = CliRunner()
    same = line.invoke(app, ["compare", "main"])
    assert (same.exit_code, same.output.count("equivalent") > 5) == (0, True)
    write(rows_of(strength=0.4))
    options = ([], ["--json"], ["--markdown"])
    text, facts, markdown = (line.invoke(app, ["compare", "main", *option]) for option in options)
    assert [result.exit_code for result in (text, facts, markdown)] == [1, 1, 1]
    sentence = json.loads(facts.output)["verdict"]["sentence"]
    assert sentence in " ".join(text.output.split())
    assert "The gate fails:" in text.output
    assert markdown.output.startswith("**Verdict:** Macro F1 on test fell from")
    assert line.invoke(app, ["compare", "main", "main", "--json"]).exit_code == 0
    assert line.invoke(app, ["compare"]).exit_code == 2
    unknown = subprocess.run(
        [sys.executable, "-m", "bonafide", "compare", "nowhere"],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert unknown.returncode == 3
    assert unknown.stderr == "bonafide: nowhere: is no commit, branch, tag, DVC experiment or MLflow run here\n"
