"""The score of a masked language model, and what it has to beat."""

from types import SimpleNamespace

import numpy as np
import pytest

from bonafide.datasets.masked_texts import FIELDS
from bonafide.project.files import write_json
from bonafide.project.paths import TOKENIZED
from bonafide.protocol import Split
from bonafide.tasks.masked_lm import baselines, score


def outputs(*rows):
    return np.array([tuple(map(float, row)) for row in rows], dtype=[(name, np.float64) for name in FIELDS])


def test_metrics_are_of_sums_over_documents():
    found = outputs((6, 3, 1, 1, 2), (2, 1, 1, 0, 0))
    sums = score.row_sums(None, found, {})
    assert score.metrics(sums.sum(axis=0), {}) == {
        "nats_per_token": pytest.approx(2),
        "token_accuracy": pytest.approx(0.5),
        "next_accuracy": pytest.approx(0.5),
    }
    assert np.isnan(score.metrics(sums, {})["next_accuracy"][1])


@pytest.mark.parametrize("found", [np.zeros(2), outputs((np.nan, 1, 0, 0, 0)), outputs((-1, 1, 0, 0, 0))])
def test_what_are_no_sums_is_refused(found):
    with pytest.raises(ValueError, match="no sums"):
        score.row_sums(None, found, {})


def settings(vocabulary="base", evaluated=0.15):
    tokenize = SimpleNamespace(vocabulary=vocabulary, vocabulary_size=8000, evaluated=evaluated)
    return score.settings(SimpleNamespace(tokenize=tokenize))


def test_what_a_token_is_and_how_many_are_hidden_are_compared_with_like_alone():
    assert settings("characters") == settings("characters") != settings("bpe")
    assert settings("characters") != settings("characters", evaluated=0.3)
    found = []
    for ids in ({"a": 0, "b": 1}, {"b": 1, "a": 0}, {"a": 1, "b": 0}):
        write_json(TOKENIZED / "processor/tokenizer.json", {"model": {"vocab": ids}, "padding": len(found)})
        found.append(settings())
    assert found[0] == found[1] != found[2]


VOCABULARY = 6


def examples(documents, hidden):
    tokens = np.concatenate([np.array(document, dtype=np.int32) for document in documents])
    offsets = np.append(0, np.cumsum([len(document) for document in documents]))
    special = np.array([0, 1, 2, VOCABULARY])
    ids = np.array([str(number) for number in range(len(documents))])
    return {"input_ids": tokens, "offsets": offsets, "hidden": np.array(hidden), "special": special, "ids": ids}


def predict(train, test):
    splits = {"train": Split(None, train), "test": Split(None, test)}
    return {name: found["test"] for name, found in baselines.predict(splits, None).items()}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_neighbours_are_multiplied_and_sum_to_one():
    train = examples([[3, 4, 5, 3, 4, 4], [5, 3, 4, 5]], [0])
    counts = baselines.count(train)
    assert counts.unigram.sum() == pytest.approx(1)
    for side in (counts.after, counts.before):
        rows = side.rows(np.arange(VOCABULARY + 2), counts.unigram)
        assert rows.sum(axis=1) == pytest.approx(1)
    left, right = (side.rows(np.array([at]), counts.unigram)[0] for side, at in ((counts.after, 3), (counts.before, 5)))
    expected = left * right / counts.unigram
    test = examples([[3, 4, 5]], [1])
    found = predict(train, test)
    assert found["neighbours"]["nats"][0] == pytest.approx(-np.log(expected[4] / expected.sum()))
    assert found["neighbours"]["hits"][0] == 1
    assert found["unigram"]["nats"][0] == pytest.approx(-np.log(counts.unigram[4]))
    assert "base" not in found


def test_a_neighbour_that_is_hidden_tells_nothing():
    train = examples([[3, 4, 5, 3, 4, 4], [5, 3, 4, 5]], [0])
    one, other = (predict(train, examples([[3, 4, token]], [1, 2]))["neighbours"]["nats"][0] for token in (5, 4))
    alone = {token: predict(train, examples([[3, 4, token]], [2]))["neighbours"]["nats"][0] for token in (5, 4)}
    counts = baselines.count(train)
    left, edge = counts.after.rows(np.array([3]), counts.unigram)[0], VOCABULARY
    right = counts.before.rows(np.array([edge]), counts.unigram)[0]
    for nats, token in ((one, 5), (other, 4)):
        assert nats == pytest.approx(-np.log(left[4]) - np.log(right[token]))
        assert alone[token] != nats


def test_the_edge_of_a_document_is_a_neighbour_and_no_other_document_is():
    left, right = baselines.sides(np.array([7, 8, 9]), np.array([0, 0, 2, 2, 3, 3]), 99)
    assert left.tolist() == [99, 7, 99]
    assert right.tolist() == [8, 99, 99]
