"""The convolutional network: whitened patches, identity convolutions, an ordinary checkpoint."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig

from bonafide.tasks.image_classification.model import stock
from bonafide.vision.cnn import EPSILON, CnnConfig, CnnForImageClassification

pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed=0, **changes):
    torch.manual_seed(seed)
    options = {"image_size": 16, "hidden_sizes": [32, 40], "num_labels": 4} | changes
    return CnnForImageClassification(CnnConfig(**options))


def smooth(n, seed=0, size=16):
    """Images whose neighbouring pixels and channels are alike, as those of the world are."""
    rng = np.random.default_rng(seed)
    rough = rng.normal(size=(n, 3, size + 8, size + 8)) + rng.normal(size=(n, 1, size + 8, size + 8))
    kernel = np.exp(-0.5 * (np.arange(-4, 5) / 1.2) ** 2)
    for axis in (2, 3):
        rough = np.apply_along_axis(lambda line: np.convolve(line, kernel, "valid"), axis, rough)
    return torch.from_numpy(rough / rough.std()).float()


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_whitened_patches_are_decorrelated(seed):
    model, pixels = build(), smooth(40, seed)
    model.whiten(pixels)
    with torch.no_grad():
        outputs = torch.nn.functional.conv2d(pixels.double(), model.whitening.weight.double())
    found = outputs.transpose(0, 1).flatten(1)[:12]  # the others are these with their signs turned
    second = found @ found.T / found.shape[1]
    patches = torch.nn.functional.unfold(pixels.double(), 2).transpose(1, 2).flatten(0, 1)
    variances = torch.linalg.eigvalsh(patches.T @ patches / len(patches)).flip(0)
    assert torch.allclose(second, torch.diag(variances / (variances + EPSILON)), atol=1e-4)
    large = int((variances > 100 * EPSILON).sum())
    assert large >= 6
    assert torch.allclose(second[:large, :large], torch.eye(large, dtype=torch.float64), atol=0.01)


def test_the_first_layer_is_frozen_and_has_both_signs():
    model = build()
    model.whiten(smooth(8))
    assert not model.whitening.weight.requires_grad
    assert model.whitening.bias.requires_grad
    half = len(model.whitening.weight) // 2
    assert torch.equal(model.whitening.weight[:half], -model.whitening.weight[half:])
    again = build(seed=1)
    again.whiten(smooth(8))
    assert torch.equal(model.whitening.weight, again.whitening.weight)  # a function of the pixels alone


def test_constant_images_whiten_to_finite_numbers():
    model = build()
    model.whiten(torch.zeros(3, 3, 16, 16))
    assert torch.isfinite(model.whitening.weight).all()


def test_convolutions_hand_their_inputs_on_at_first():
    block, x = build().blocks[1], torch.randn(2, 32, 8, 8)
    with torch.no_grad():
        assert torch.allclose(block.conv1(x)[:, :32], x, atol=1e-6)
        x = torch.randn(2, 40, 4, 4)
        assert torch.allclose(block.conv2(x), x, atol=1e-6)


def test_each_block_halves_and_the_logits_are_as_many_as_labels():
    model, sizes = build(hidden_sizes=[24, 24, 24]), []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _args, output: sizes.append(output.shape[-1]))
    assert model(torch.randn(3, 3, 16, 16)).logits.shape == (3, 4)
    assert sizes == [7, 3, 1]  # of 15 places of patches


def test_it_is_saved_and_loaded_bitwise_with_its_statistics(tmp_path):
    model, pixels = build(), smooth(8)
    model.whiten(pixels)
    model.train()(pixels)
    model.eval().save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is CnnConfig
    loaded = stock(tmp_path).eval()
    theirs = loaded.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(loaded(pixels).logits, model(pixels).logits)
