"""The textbook network: Keras' first weights, Keras' order of pixels, an ordinary checkpoint."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForImageClassification

from bonafide.tasks.image_classification.model import stock
from bonafide.vision.mlp import MlpConfig, MlpForImageClassification

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return MlpForImageClassification(
        MlpConfig(**{"image_size": 8, "hidden_sizes": [64, 32], "num_labels": 5} | changes)
    )


def test_weights_begin_as_keras_has_them():
    """Uniform within sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010), biases 0."""
    for layer in (*build().layers, build().classifier):
        bound = (6 / sum(layer.weight.shape)) ** 0.5
        weights = layer.weight.detach().flatten()
        assert weights.abs().max() <= bound
        assert weights.abs().max() > 0.95 * bound
        assert weights.std() == pytest.approx(bound / 3**0.5, rel=0.15)
        assert not layer.bias.any()


def test_the_essays_network_has_128_units():
    model = MlpForImageClassification(MlpConfig(num_labels=10))
    assert [tuple(p.shape) for p in model.parameters()] == [(128, 3072), (128,), (10, 128), (10,)]


def test_it_is_dense_layers_with_relu_on_pixels_as_keras_flattens_them():
    model, pixels = build(), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        found = model(pixels).logits
        x = pixels.numpy().transpose(0, 2, 3, 1).reshape(4, -1)
        for layer in model.layers:
            x = np.maximum(0, x @ layer.weight.numpy().T + layer.bias.numpy())
    expected = x @ model.classifier.weight.detach().numpy().T + model.classifier.bias.detach().numpy()
    assert np.abs(found.numpy() - expected).max() < 1e-5


def test_seeds_draw_other_weights_and_the_same_ones_again():
    assert all(torch.equal(a, b) for a, b in zip(build(1).parameters(), build(1).parameters(), strict=True))
    assert not torch.equal(build(1).classifier.weight, build(2).classifier.weight)


def test_it_is_saved_and_loaded_bitwise(tmp_path):
    model, pixels = build(), torch.randn(4, 3, 8, 8)
    model.config.image_mean, model.config.mirror = [0.1, 0.2, 0.3], True
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (type(config), config.image_mean, config.mirror) == (MlpConfig, [0.1, 0.2, 0.3], True)
    for loaded in (AutoModelForImageClassification.from_pretrained(tmp_path), stock(tmp_path)):
        assert all(torch.equal(mine, p) for mine, p in zip(model.parameters(), loaded.parameters(), strict=True))
        with torch.no_grad():
            assert torch.equal(loaded(pixels).logits, model(pixels).logits)


def test_the_loss_is_the_mean_cross_entropy():
    model, pixels, labels = build(), torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 4])
    found = model(pixel_values=pixels, labels=labels)
    expected = -found.logits.log_softmax(-1)[torch.arange(4), labels].mean()
    assert torch.allclose(found.loss, expected)
    assert model(pixels).loss is None
