"""A refused gate names what decides, and the value of params that would let the table pass."""

import random
import re
from dataclasses import replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from bonafide.project.errors import InputError
from bonafide.project.files import read_json
from bonafide.project.paths import FINDINGS
from stages.validate import PAGE, validate
from tests.gate_inputs import WORDS, default_params, limits, make, refuse, write

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")


@pytest.fixture(scope="module")
def default():
    return default_params()


def relabel(rows, names):
    return [row | {"label": names[i % len(names)]} for i, row in enumerate(rows)]


def test_labels_that_are_spelled_otherwise_are_named_with_their_counts_in_one_line_and_on_the_page(default):
    write(relabel(make(), ["1", "2"]))
    lines = refuse(replace(default, task=replace(default.task, labels=["01", "2.0"])))
    assert lines[0] == (
        "declared_labels, rows as they came: expected that every declared label is in the table; task.labels: "
        "'01' is in no row: did you mean '1' (300 rows)?; '2.0' is in no row: did you mean '2' (300 rows)?; "
        f"not declared: '1' in 300 rows, '2' in 300 rows; see {PAGE}"
    )
    assert "would let" not in "".join(lines)
    [table] = read_json(FINDINGS)["tables"]
    assert table["rows"] == [
        ["'01'", "task.labels, and no row", 0, "'1'"],
        ["'2.0'", "task.labels, and no row", 0, "'2'"],
        ["'1'", "the table, and not task.labels", 300, "'01'"],
        ["'2'", "the table, and not task.labels", 300, "'2.0'"],
    ]
    page = PAGE.read_text(encoding="utf-8")
    assert "Labels that params.yaml and the table do not share" in page
    assert page.count("&#39;01&#39;") >= 2
    assert page.count('<td class="num">300</td>') == 2


def test_a_label_that_is_not_declared_is_named_where_it_is_let_through_and_where_it_is_not(default, capsys):
    rows = make()
    for row in rows[:20]:
        row["label"] = "Negative"
    write(rows)
    validate(default)
    said = "validate: every label is a declared one: 20 of 600 fail (5.00% may): not declared: 'Negative' in 20 rows"
    assert f"{said}; see {PAGE}" in capsys.readouterr().err
    page = PAGE.read_text(encoding="utf-8")
    assert "20 of 600 fail (5.00% may): not declared: &#39;Negative&#39; in 20 rows" in page
    assert "<td>task.labels</td>" in page
    for row in rows[:60]:
        row["label"] = "Negative"
    write(rows)
    line, other = refuse(default)
    assert "; 60 of 600 fail (5.00% may): not declared: 'Negative' in 60 rows; validate.max_q" in line
    assert ": 60 unknown label (task.labels); validate.max_quarantine_fraction: 0.05 decides, 0.1 would" in other


def test_few_rows_of_a_class_are_named_with_the_value_that_lets_them_pass(default):
    write(relabel(make(900), ["a", "b", "c", *"ab" * 14]))
    kinds = replace(default, task=replace(default.task, labels=["a", "b", "c"]))
    [line] = refuse(kinds)
    offered = re.search(r"validate.min_rows_per_class: 20 decides, (\d+) would let these data pass", line)
    fewest = int(re.search(r"has (\d+) of 'c'", line)[1])
    assert 0 < int(offered[1]) == fewest < 20
    validate(limits(kinds, min_rows_per_class=fewest))
    write([*relabel(make(900), ["a", "b"]), make(901)[-1] | {"label": "c"}])
    [line] = refuse(kinds)
    assert "; 1 of 3 labels lack rows in a split: bring more, or leave such a label out of task.labels; " in line
    assert "validate.min_rows_per_class: 20 decides; see" in line


TEXTS = [
    "ok",
    "bad",
    "fine",
    "x" * 300,
    "",
    None,
    "caf\ufffd",
    "ann@example.com",
    *(" ".join(WORDS[i : i + 6]) for i in range(60)),
]


@st.composite
def tables(draw):
    """Rows of many faults, of two to four classes, with or without splits of their own."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    kinds = "abcd"[: draw(st.integers(2, 4))]
    faulty, own, known = draw(st.sampled_from([0, 0.1, 0.5])), draw(st.booleans()), draw(st.sampled_from([1, 0.9, 0.6]))
    rows = []
    for i in range(draw(st.integers(30, 300))):
        text = chance.choice(TEXTS) if chance.random() < faulty else " ".join(chance.choices(WORDS, k=8))
        label = chance.choices(kinds, weights=[4**n for n in range(len(kinds))])[0] if chance.random() < known else None
        label = "e" if label and chance.random() > known else label
        split = chance.choice(["train", "train", "validation", "test"]) if own else None
        rows.append({"id": f"r{i}", "text": text, "label": label, "split": split, "domain": "d", "rating": 1.0})
    return rows, list(kinds)


@settings(max_examples=15)
@given(tables())
def test_the_values_that_are_offered_let_the_table_pass(default, made):
    rows, kinds = made
    write(rows)
    params = replace(default, task=replace(default.task, labels=kinds))
    params = limits(params, max_characters=100, max_label_shift=0.01, min_rows_per_class=15)
    try:
        validate(params)
    except InputError:
        broken = [check for check in read_json(FINDINGS)["checks"] if not check["passed"]]
        offers = {check["key"].removeprefix("validate."): check["passing"] for check in broken if check["passing"]}
        event(f"{len(offers)} offers")
        if offers:
            assert all(check["passing"] for check in broken)
            validate(limits(params, **offers))
        else:
            few = next(check for check in read_json(FINDINGS)["checks"] if check["name"] == "rows_per_class")
            assert "lack rows in a split" in few["detail"]
