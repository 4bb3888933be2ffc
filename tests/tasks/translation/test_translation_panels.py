"""bonafide/tasks/translation/panels.py: what is shown of a translator is what its outputs say."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from bonafide.evaluation.estimates import sum_up
from bonafide.evaluation.slices import cut
from bonafide.project.paths import MODEL, VALIDATED
from bonafide.project.randomness import generator
from bonafide.protocol import Split
from bonafide.tasks.translation import panels, score
from tests.tasks.translation.pairs import GOOD, PARAMS, POOR, SOURCES, TARGETS, outputs, save_model, split

SETTINGS = score.settings(PARAMS)
SPLIT = split()


def sums_of(texts, part=SPLIT):
    rows = score.row_sums(np.array(part.table["target"].to_pylist(), dtype=object), outputs(texts), SETTINGS)
    return sum_up({"model": rows}, part.table["group"].to_pylist(), 100, generator(1))["model"]


@pytest.fixture
def train():
    VALIDATED.mkdir(parents=True)
    table = split([*SOURCES[:4], "He left."] * 3, [*TARGETS[:4], "他走了。"] * 3).table
    pq.write_table(table, VALIDATED / "train.parquet")


@pytest.fixture
def model():
    save_model(MODEL, seed=0)


@pytest.mark.usefixtures("train")
def test_slices_are_of_the_source():
    pieces = {(piece.column, piece.value): piece.rows.tolist() for piece in cut(SPLIT.table, [], panels.slices(SPLIT))}
    assert pieces["numbers", "yes"] == [1, 2]
    assert pieces["negation", "yes"] == [0, 3, 7]
    assert pieces["unseen words", "none"] == [0, 1, 2, 3]
    assert pieces["unseen words", "more"] == [4, 5, 6, 7]
    assert pieces["length", "13"] == [7]


def test_unseen_words_are_a_share_of_all():
    assert panels.unseen(["a b c d e", "A b c d x", "a x", ""], ["a b c d e"]) == [
        "none",
        "up to a fifth",
        "more",
        "none",
    ]


def test_bleus_parts_are_those_of_its_score():
    shown = panels.precisions(sums_of(GOOD).total[score.BLEU_SUMS].tolist(), SETTINGS["signatures"])
    rows = np.array(shown["rows"])
    brevity = np.exp(1 - 59 / 51)
    assert 100 * brevity * np.exp(np.log(rows[:, 3]).mean()) == pytest.approx(55.075862696461826)
    assert all(signature in shown["caption"] for signature in SETTINGS["signatures"])
    assert panels.precisions([0.0, 9.0, *[0.0] * 8], [])["rows"][0] == [1, 0, 0, 0.0]


@pytest.mark.usefixtures("train")
def test_what_is_usual_in_train_is_fluent():
    def value(texts):
        shown = panels.fluency(SPLIT, outputs(texts), PARAMS)
        assert shown["rows"][1][1]["value"] == shown["mark"]
        return shown["rows"][0][1]

    same = value(TARGETS)
    assert same == panels.fluency(SPLIT, outputs(TARGETS), PARAMS)["rows"][1][1]
    assert value([TARGETS[0]] * 8)["value"] < same["value"] < value(POOR)["value"] < value(["x"] * 8)["value"]
    assert same["low"] < same["value"] < same["high"]


def test_a_texts_surprise_does_not_depend_on_those_beside_it():
    found = panels.surprise(TARGETS, {"all": GOOD, "one": GOOD[2:3], "none": [""]})
    np.testing.assert_allclose(found["all"][2], found["one"][0], rtol=1e-12)
    assert found["all"][:, 1].tolist() == [len(text) + 1 for text in GOOD]
    assert found["none"][0, 1] == 1


def test_every_row_is_in_the_histogram():
    shown = panels.lengths(sums_of(POOR).rows)
    assert sum(shown["counts"]) == 8
    assert len(shown["edges"]) == len(shown["counts"]) + 1


@pytest.mark.usefixtures("model")
def test_attention_is_a_distribution_over_the_source_for_each_token_of_the_reference():
    few = split(["abc", "abcde", "ab"], ["我是谁", "我是", "你是谁"])
    shown = panels.attention(few, 1)
    assert {(len(one["names_y"]), len(one["names_x"])) for one in shown} == {(4, 4)}
    for one in shown:
        values = np.array(one["values"])
        assert values.shape == (len(one["names_y"]), len(one["names_x"]))
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-5)
        assert (one["names_x"][-1], one["names_y"][-1]) == ("</s>", "</s>")


def shown_examples(texts, part=SPLIT):
    found = panels.examples(part, outputs(texts), sums_of(texts, part), PARAMS)
    return {one["title"]: one for one in found}


def test_the_best_come_first_and_so_do_the_worst():
    texts = [*TARGETS[:2], "", "她从没去过那里吗", *POOR[4:]]
    found = shown_examples(texts)
    assert found["The best"]["ids"][:3] == ["r1", "r0", "r3"]
    assert found["The worst"]["ids"][0] == "r2"
    assert found["The best"]["rows"][0] == [SOURCES[1], TARGETS[1], TARGETS[1], 100.0]
    assert all(sorted(found[title]["ids"]) == sorted(SPLIT.table["id"].to_pylist()) for title in [*found][:3])


def test_what_was_lost_is_found():
    found = shown_examples(GOOD)
    assert found["Lost numbers"]["ids"] == ["r2"]
    assert found["Lost negations"]["ids"] == ["r3"]
    assert shown_examples(TARGETS)["Lost numbers"]["rows"] == []


def test_the_order_of_rows_changes_no_example():
    order = np.random.default_rng(0).permutation(8)
    moved = Split(SPLIT.table.take(order), {})
    assert shown_examples([POOR[row] for row in order], moved) == shown_examples(POOR)


@pytest.mark.usefixtures("train", "model")
def test_all_of_it_can_be_kept_as_json():
    part = split([text[:9] for text in SOURCES], [text[:7] for text in TARGETS])
    found = panels.panels(part, outputs(POOR), sums_of(POOR, part), PARAMS)
    assert [one["kind"] for one in found] == ["table", "table", "histogram", *["matrix"] * 3, *["samples"] * 5]
    json.dumps(found, allow_nan=False)
