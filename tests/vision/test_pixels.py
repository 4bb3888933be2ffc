"""Batches of pixels: normalised values, and the probabilities that are to be learned."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.vision.augmentation import Augmentation
from bonafide.vision.pixels import Images, collate, mirrored_probabilities, normalise, probabilities

MEAN, DEVIATION = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
SHARES = st.floats(0, 0.5)


class Shown(torch.nn.Module):
    """A model that adds up pixels, more of those on the left."""

    def __init__(self, classes=3):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-0.1, 0.1, classes))
        self.config = SimpleNamespace(num_labels=classes, image_mean=MEAN, image_std=DEVIATION)

    def forward(self, pixel_values):
        slope = torch.linspace(1, 0, pixel_values.shape[-1])
        return SimpleNamespace(logits=(pixel_values * slope).sum(dim=(1, 2, 3))[:, None] * self.weight)


def images(n, augmentation=None, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return Images(pixels, rng.integers(0, classes, n), np.array([str(i) for i in range(n)]), augmentation)


def augmented(mixup=0.0, **changes):
    options = {"flip": True, "translate": 1, "crop": 0.7, "mixup": mixup, "seed": 1, "epoch": 3} | changes
    return Augmentation(**options)


def test_values_are_pixels_less_the_mean_over_the_deviation():
    given_pixels = images(3).pixels
    expected = (given_pixels / 255 - np.array(MEAN)) / np.array(DEVIATION)
    found = normalise(given_pixels, Shown())
    assert found.shape == (3, 3, 6, 6)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert np.abs(found.permute(0, 2, 3, 1).numpy() - expected).max() < 1e-5


def test_memory_mapped_pixels_are_read_and_left_alone(tmp_path):
    np.save(tmp_path / "pixels.npy", images(5).pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    whole = Images(mapped, images(5).labels, images(5).ids, augmented(0.4))
    collate(whole, np.array([4, 1]), Shown())
    assert np.array_equal(mapped, images(5).pixels)


@settings(max_examples=40)
@given(st.integers(1, 9), st.sampled_from([0.0, 0.2, 1.0]), SHARES, st.integers(2, 12), st.integers(0, 99))
def test_targets_are_probabilities(n, mixup, smoothing, classes, seed):
    whole = images(n, augmented(mixup, seed=seed), classes)
    batch = collate(whole, np.arange(n), Shown(classes), smoothing)
    assert batch.targets.shape == (n, classes)
    assert batch.targets.dtype == torch.float32
    assert (batch.targets >= 0).all()
    assert torch.allclose(batch.targets.sum(dim=1), torch.ones(n), atol=1e-6)
    own = batch.targets[torch.arange(n), torch.from_numpy(whole.labels)]
    assert (own >= (1 - smoothing) / 2 + smoothing / classes - 1e-6).all()  # mixed or not, the larger share
    if not mixup:
        assert torch.allclose(own, torch.full((n,), 1 - smoothing + smoothing / classes))
    assert batch.row_counts == [[1] * n]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 19), min_size=1, max_size=6, unique=True), st.sampled_from([0.0, 0.4]))
def test_an_image_has_the_same_values_and_targets_in_any_batch(rows, mixup):
    whole, rows = images(20, augmented(mixup)), np.array(rows)
    batch = collate(whole, rows, Shown(), 0.1)
    for at, row in enumerate(rows):
        alone = collate(whole, np.array([row]), Shown(), 0.1)
        assert torch.equal(alone.pixel_values[0], batch.pixel_values[at])
        assert torch.equal(alone.targets[0], batch.targets[at])


def test_a_mixed_image_is_as_its_targets_say():
    whole, model = images(20, augmented(0.4)), Shown(20)
    whole = Images(whole.pixels, np.arange(20), whole.ids, whole.augmentation)
    plain = Images(whole.pixels, whole.labels, whole.ids, augmented(0.0))
    values = collate(plain, np.arange(20), model).pixel_values
    mixed = collate(whole, np.arange(20), model)
    expected = (mixed.targets @ values.flatten(1)).view_as(values)
    assert torch.allclose(mixed.pixel_values, expected, atol=1e-5)


def test_without_augmentation_images_are_as_they_are():
    whole = images(4)
    assert torch.equal(collate(whole, np.arange(4), Shown()).pixel_values, normalise(whole.pixels, Shown()))


@pytest.mark.parametrize("rows", [[2, 0], np.array([2, 0])])
def test_some_images_are_taken_in_their_order(rows):
    some = images(4, augmented()).take(rows)
    assert some.ids.tolist() == ["2", "0"]
    assert np.array_equal(some.pixels, images(4).pixels[[2, 0]])
    assert len(some) == 2
    assert some.lengths.tolist() == some.units.tolist() == [1, 1]


def test_a_mirror_image_counts_as_much_as_the_image():
    whole, model = images(5), Shown()
    turned = Images(whole.pixels[:, :, ::-1], whole.labels, whole.ids)
    with torch.no_grad():
        batch, mirror = (collate(one, np.arange(5), model) for one in (whole, turned))
        both = mirrored_probabilities(model, batch)
        assert np.allclose(both, (probabilities(model, batch) + probabilities(model, mirror)) / 2, atol=1e-12)
        assert np.allclose(both, mirrored_probabilities(model, mirror), atol=1e-12)
    assert both.dtype == np.float64
    assert both.sum(axis=1) == pytest.approx(1, abs=1e-12)
