"""The baselines of classified images learn from train, choose on validation, and are no straw men."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, ConvNextConfig, ViTConfig, ViTForImageClassification

from bonafide.evaluation import softmax_regression
from bonafide.project.paths import BASE_MODEL, TOKENIZED
from bonafide.protocol import Split
from bonafide.tasks.image_classification import baselines
from bonafide.vision.pixels import PixelBatch
from tests.tasks.image_classification.pictures import images, params, splits

pytestmark = pytest.mark.usefixtures("one_thread")


def accuracy(split, outputs):
    return (outputs.argmax(axis=1) == split.examples["labels"]).mean()


def test_colours_are_learned_and_train_is_not_asked_about():
    made = splits()
    found = baselines.predict(made, params())
    assert [*found] == ["pixels", "histogram", "majority"]  # there is no base model here
    for outputs in found.values():
        assert [*outputs] == ["validation", "test"]
        assert outputs["test"].shape == (90, 3)
        assert outputs["test"].sum(axis=1) == pytest.approx(1)
    assert accuracy(made["test"], found["pixels"]["test"]) > 0.9
    assert accuracy(made["test"], found["histogram"]["test"]) > 0.9
    assert found["majority"]["test"].tolist() == [[pytest.approx(1 / 3)] * 3] * 90
    assert [system.name for system in baselines.BASELINES if system.name in found] == [*found]


def test_the_labels_of_test_change_nothing():
    made = splits()
    first = baselines.predict(made, params())
    turned = dict(made["test"].examples, labels=(made["test"].examples["labels"] + 1) % 3)
    second = baselines.predict(made | {"test": Split(made["test"].table, turned)}, params())
    assert all((first[name]["test"] == second[name]["test"]).all() for name in first)


def test_validation_alone_chooses_the_penalty():
    made = splits()
    pixels = {name: split.examples["pixels"] for name, split in made.items()}
    labels = {name: split.examples["labels"] for name, split in made.items()}
    asked = []

    def quality(targets, _):
        asked.append(targets)
        return -len(asked)  # the first, which is the strongest penalty, is the best

    chosen = baselines.regression(pixels, labels, 3, baselines.colours, (0.01, 1.0), quality)
    strongest = baselines.regression(pixels, labels, 3, baselines.colours, (1.0,), lambda *_: 0.0)
    assert all(targets is labels["validation"] for targets in asked)
    assert (chosen["test"] == strongest["test"]).all()


def test_of_many_images_as_many_as_fit_are_learned_from(monkeypatch):
    monkeypatch.setattr(baselines, "MOST", 30)
    made = splits()
    rows = baselines.evenly(90)
    assert len(rows) == 30
    assert (rows[0], rows[-1]) == (0, 89)
    few = dict(made, train=Split(made["train"].table, {k: v[rows] for k, v in made["train"].examples.items()}))
    monkeypatch.setattr(baselines, "PENALTIES", (0.1,))
    monkeypatch.setattr(baselines, "FEW_PENALTIES", (0.1,))
    found, expected = baselines.predict(made, params()), baselines.predict(few, params())
    assert (found["pixels"]["test"] == expected["pixels"]["test"]).all()
    assert accuracy(made["test"], found["pixels"]["test"]) > 0.5


def test_a_histogram_counts_each_channel():
    pixels = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    pixels[0, 0, 0] = (255, 32, 31)
    found = baselines.colours(pixels).reshape(3, 8)
    assert found[0].tolist() == [0.75, 0, 0, 0, 0, 0, 0, 0.25]
    assert found[1].tolist() == [0.75, 0.25, 0, 0, 0, 0, 0, 0]
    assert found[2].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("size", "side"), [(8, 8), (32, 32), (33, 32), (64, 32), (224, 32)])
def test_large_images_are_averaged_over_areas(size, side):
    pixels, _ = images(2, size)
    found = baselines.averaged(pixels).reshape(2, 3, side, side)
    if size % side == 0:
        step = size // side
        expected = pixels.reshape(2, side, step, side, step, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)
        assert found == pytest.approx(expected, abs=0.01)
    assert found.mean() == pytest.approx(pixels.mean(), abs=2)


def test_features_are_standardised_by_train_and_what_does_not_vary_stays():
    train = np.array([[0.0, 5, 1], [2, 5, 1]], dtype=np.float32)
    middle, scale = baselines.moments(train)
    test = np.array([[3.0, 6, 1]], dtype=np.float32)
    for features in (train, test):
        baselines.standardise(features, middle, scale)
    assert train.tolist() == [[-1, 0, 1], [1, 0, 1]]
    assert test.tolist() == [[2, 1, 1]]


def save_base(kind, config):
    """A base model, and the preprocessor that tokenize left."""
    torch.manual_seed(0)
    (kind.from_config(config) if kind is AutoModel else kind(config)).save_pretrained(BASE_MODEL)
    TOKENIZED.joinpath("processor").mkdir(parents=True)
    facts = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (TOKENIZED / "processor/preprocessor_config.json").write_text(json.dumps(facts))


VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def test_the_shell_is_the_same_again_though_a_classifier_has_no_pooler():
    """A pooler that begins at random would give other numbers each time."""
    save_base(ViTForImageClassification, ViTConfig(image_size=8, patch_size=4, **VIT))
    made = splits()
    first, second = (baselines.predict(made, params())["shell"] for _ in range(2))
    assert (first["test"] == second["test"]).all()
    assert accuracy(made["test"], first["test"]) > 0.8


def test_a_convolutional_base_is_averaged_over_places():
    save_base(AutoModel, ConvNextConfig(image_size=32, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1]))
    made = splits(size=32)
    assert baselines.frozen_base()(made["test"].examples["pixels"]).shape == (90, 8)
    found = baselines.predict(made, params())
    assert [*found] == ["shell", "pixels", "histogram", "majority"]


def test_the_base_sees_pixels_normalised():
    class Seen:
        def __call__(self, pixel_values):
            self.last_hidden_state = pixel_values
            return self

    values = torch.arange(24.0).reshape(1, 2, 3, 4)
    found = baselines.embed(Seen(), PixelBatch(values, torch.zeros(1, 3)))
    assert found.tolist() == [[5.5, 17.5]]
    tokens = torch.arange(6.0).reshape(1, 3, 2)
    assert baselines.embed(Seen(), PixelBatch(tokens, torch.zeros(1, 3))).tolist() == [[2, 3, 0, 1]]


def test_a_regression_that_has_not_converged_is_refused(monkeypatch):
    monkeypatch.setattr(softmax_regression, "MAX_ITERATIONS", 1)
    with pytest.raises(ArithmeticError):
        baselines.predict(splits(), params())
