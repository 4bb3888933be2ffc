"""The baselines learn from train, choose on validation, and are no straw men."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score

from bonafide.evaluation.class_probabilities import majority
from bonafide.forward.batch import Batch
from bonafide.project.randomness import generator
from bonafide.tasks.classification import baselines


def accuracy(labels, probabilities):
    return accuracy_score(labels, probabilities.argmax(axis=1))


def points(rows, seed, classes=2):
    """Points around a centre per class."""
    rng = generator(seed)
    labels = np.arange(rows) % classes
    return np.eye(classes)[labels] * 2 + rng.normal(size=(rows, classes)), labels


def three_splits(classes=2):
    made = {name: points(200, seed, classes) for seed, name in enumerate(("train", "validation", "test"))}
    return {name: x for name, (x, _) in made.items()}, {name: y for name, (_, y) in made.items()}


def test_the_majority_baseline_has_the_shares_of_train():
    found = majority(np.array([0, 2, 2, 2]), 3, 4)
    assert found.tolist() == [[0.25, 0, 0.75, 0]] * 3


def test_a_logistic_regression_learns_and_is_not_asked_about_train():
    features, labels = three_splits(3)
    found = baselines.logistic_regression(features, labels, 3, (0.1, 1.0), accuracy)
    assert list(found) == ["validation", "test"]
    assert found["test"].sum(axis=1) == pytest.approx(1)
    assert accuracy(labels["test"], found["test"]) > 0.8


def test_validation_alone_chooses_the_strength():
    features, labels = three_splits()
    asked = []

    def quality(targets, probabilities):
        asked.append((targets, probabilities))
        return -len(asked)  # the first, which is the smallest strength, is the best

    chosen = baselines.logistic_regression(features, labels, 2, (10.0, 0.001), quality)
    weakest = baselines.logistic_regression(features, labels, 2, (0.001,), accuracy)
    assert all(targets is labels["validation"] for targets, _ in asked)
    assert chosen["test"].tolist() == weakest["test"].tolist()


def test_the_labels_of_test_change_nothing():
    features, labels = three_splits()
    first = baselines.logistic_regression(features, labels, 2, (0.1, 1.0), accuracy)
    other = labels | {"test": 1 - labels["test"]}
    assert (
        baselines.logistic_regression(features, other, 2, (0.1, 1.0), accuracy)["test"].tolist()
        == first["test"].tolist()
    )


def test_a_class_without_rows_in_train_has_probability_0():
    features, labels = three_splits()
    found = baselines.logistic_regression(features, labels, 4, (1.0,), accuracy)
    assert (found["test"][:, 2:] == 0).all()


def test_a_baseline_that_has_not_converged_is_refused(monkeypatch):
    monkeypatch.setattr(baselines, "MAX_ITERATIONS", 1)
    with pytest.raises(ConvergenceWarning):
        baselines.logistic_regression(*three_splits(), 2, (1.0,), accuracy)


@pytest.mark.parametrize(
    ("text", "analyzer"),
    [("a fine film", "word"), ("这部电影很好看", "char"), ("とても良い映画", "char"), ("ดีมาก", "char"), ("!!!", "word"),
     ("great phone 手机", "word"), ("очень хорошо", "word"), ("مرحبا", "word")],
)  # fmt: skip
def test_texts_without_spaces_are_cut_into_characters(text, analyzer):
    assert baselines.analysis([text] * 3)["analyzer"] == analyzer


def test_tfidf_knows_the_terms_of_train_only():
    features = baselines.tfidf_features({"train": ["good film", "bad film"], "test": ["unseen words", "good film"]})
    assert features["test"].shape == features["train"].shape == (2, 5)
    assert features["test"][0].nnz == 0
    assert features["test"][1].toarray() == pytest.approx(features["train"][0].toarray())


def test_tfidf_keeps_negated_words_whole_and_marks_apart():
    features = baselines.tfidf_features({"train": ["don't buy !!!"], "test": ["don't !!!", "don t", "buy"]})
    assert [features["test"][row].nnz for row in range(3)] == [2, 0, 1]


def test_the_shell_sees_the_mean_of_each_of_the_last_four_layers_without_the_padding():
    rng = torch.Generator().manual_seed(0)
    layers = tuple(torch.randn(2, 3, 5, generator=rng) for _ in range(7))
    tensors = {"input_ids": torch.zeros(2, 3), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    batch = Batch(tensors, torch.zeros(2), [3, 3], torch.zeros(2))
    found = baselines.embed(lambda **_: SimpleNamespace(hidden_states=layers), batch)
    expected = [
        torch.cat([layer[row, :length].mean(dim=0) for layer in layers[3:]]) for row, length in ((0, 3), (1, 2))
    ]
    assert found == pytest.approx(torch.stack(expected).numpy(), abs=1e-6)


def test_features_are_standardised_by_train():
    found = baselines.standardise({"train": np.array([[0.0, 5], [2, 5]]), "test": np.array([[3.0, 6]])})
    assert found["train"].tolist() == [[-1, 0], [1, 0]]
    assert found["test"].tolist() == [[2, 1]]
