"""Images are changed by the seed, the epoch and the row alone, and within what the params say."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bonafide.vision.augmentation import Augmentation, enlarge, reflected

OFF = Augmentation(flip=False, translate=0, crop=1.0, mixup=0.0, seed=1, epoch=1)
ALL = replace(OFF, flip=True, translate=2, crop=0.5, mixup=0.4)
SEEDS, EPOCHS, ROWS = st.integers(0, 2**31), st.integers(1, 10_000), st.integers(0, 10**9)
ANY = st.builds(
    Augmentation,
    flip=st.booleans(),
    translate=st.integers(0, 9),
    crop=st.floats(0.05, 1),
    mixup=st.sampled_from([0.0, 0.2, 1.0]),
    seed=SEEDS,
    epoch=EPOCHS,
)


def noise(n, height=8, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@settings(max_examples=40)
@given(ANY, st.lists(ROWS, min_size=1, max_size=6, unique=True), st.randoms())
def test_an_image_is_changed_alike_in_any_batch(augmentation, rows, random):
    rows, images = np.array(rows), noise(len(rows))
    whole = augmentation.change(images, rows)
    for at in range(len(rows)):
        assert np.array_equal(augmentation.change(images[[at]], rows[[at]])[0], whole[at])
    order = np.array(random.sample(range(len(rows)), len(rows)))
    assert np.array_equal(augmentation.change(images[order], rows[order]), whole[order])
    if augmentation.mixup:
        partners, own = augmentation.mix(rows, 50)
        again = augmentation.mix(rows[order], 50)
        assert np.array_equal(again[0], partners[order])
        assert np.array_equal(again[1], own[order])


def test_seed_epoch_and_row_each_change_what_is_drawn():
    rows = np.arange(200)
    for purpose in range(8):
        drawn = ALL.draw(purpose, rows)
        others = (
            replace(ALL, seed=2).draw(purpose, rows),
            ALL.at(2).draw(purpose, rows),
            ALL.draw(purpose, rows + 200),
            ALL.draw((purpose + 1) % 8, rows),
        )
        assert ((drawn >= 0) & (drawn < 1)).all()
        for other in others:
            assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.3  # of 200 pairs: 4 deviations
            assert not np.intersect1d(drawn, other).size


def test_what_is_drawn_is_uniform():
    for purpose in range(8):
        drawn = np.sort(ALL.draw(purpose, np.arange(4000)))
        assert np.abs(drawn - (np.arange(4000) + 0.5) / 4000).max() < 0.03  # Kolmogorov and Smirnov, p < 0.002


@given(SEEDS, st.integers(1, 500), st.lists(ROWS, min_size=1, max_size=20))
def test_flips_alternate_between_epochs(seed, epoch, rows):
    augmentation, rows = replace(OFF, flip=True, seed=seed, epoch=epoch), np.array(rows)
    assert np.array_equal(augmentation.flips(rows), ~augmentation.at(epoch + 1).flips(rows))
    images = noise(len(rows))
    both = augmentation.change(images, rows), augmentation.at(epoch + 1).change(images, rows)
    assert np.array_equal(both[0], both[1][:, :, ::-1])
    assert np.array_equal(both[0][augmentation.flips(rows)], images[augmentation.flips(rows)][:, :, ::-1])


def test_half_of_the_images_are_flipped():
    flips = replace(OFF, flip=True).flips(np.arange(2000))
    assert 900 < flips.sum() < 1100
    assert not OFF.flips(np.arange(9)).any()


@settings(max_examples=40)
@given(SEEDS, EPOCHS, st.integers(0, 9), st.integers(1, 9), st.integers(1, 9))
def test_a_moved_image_is_a_part_of_the_reflected_one(seed, epoch, most, height, width):
    augmentation, rows = replace(OFF, translate=most, seed=seed, epoch=epoch), np.arange(3)
    images = noise(3, height, width)
    changed = augmentation.change(images, rows)
    for image, found in zip(images, changed, strict=True):
        padded = np.pad(image, ((most, most), (most, most), (0, 0)), mode="reflect")
        parts = (padded[y : y + height, x : x + width] for y in range(2 * most + 1) for x in range(2 * most + 1))
        assert any(np.array_equal(part, found) for part in parts)


def test_every_move_is_made_and_none_further():
    moves = replace(OFF, translate=2)._moves(1, np.arange(1000))
    values, counts = np.unique(moves, return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    assert counts.min() > 150


@given(st.integers(1, 9), st.integers(-40, 40))
def test_places_outside_are_mirrored_at_the_edge(size, place):
    there = np.pad(np.arange(size), 40, mode="reflect") if size > 1 else np.zeros(81, dtype=np.int64)
    assert reflected(np.array([place]), size)[0] == there[place + 40]


@given(SEEDS, EPOCHS, st.integers(1, 12), st.integers(1, 12))
def test_what_is_off_changes_nothing(seed, epoch, height, width):
    images = noise(4, height, width)
    found = replace(OFF, seed=seed, epoch=epoch).change(images, np.arange(4))
    assert np.array_equal(found, images)
    assert found is not images


@settings(max_examples=30)
@given(SEEDS, st.floats(0.05, 0.99))
def test_a_crop_lies_within_the_image_and_has_its_size(seed, crop):
    images = np.repeat(np.array([[10], [200]], dtype=np.uint8), 8 * 8 * 3, axis=1).reshape(2, 8, 8, 3)
    found = replace(OFF, crop=crop, seed=seed).change(images, np.arange(2))
    assert found.shape == images.shape
    assert found.dtype == np.uint8
    assert np.array_equal(found, images)  # of one colour, whatever is enlarged
    noisy = noise(5)
    changed = replace(OFF, crop=crop, seed=seed).change(noisy, np.arange(5))
    low, high = noisy.min(axis=(1, 2)), noisy.max(axis=(1, 2))
    assert (changed >= low[:, None, None]).all()
    assert (changed <= high[:, None, None]).all()


def test_a_square_of_its_own_size_is_enlarged_by_nothing():
    image = noise(1)[0]
    assert np.array_equal(enlarge(image, 8), image)


@settings(max_examples=30)
@given(SEEDS, EPOCHS, st.floats(0.05, 5), st.integers(1, 60))
def test_mixed_images_have_partners_and_the_larger_share(seed, epoch, alpha, count):
    partners, own = replace(OFF, mixup=alpha, seed=seed, epoch=epoch).mix(np.arange(count), count)
    assert ((partners >= 0) & (partners < count)).all()
    assert ((own >= 0.5) & (own <= 1)).all()


def test_shares_have_the_beta_distribution_folded_at_a_half():
    from scipy.stats import beta, kstest

    _, own = replace(OFF, mixup=0.4).mix(np.arange(4000), 4000)
    folded = kstest(own, lambda x: beta.cdf(x, 0.4, 0.4) - beta.cdf(1 - x, 0.4, 0.4))
    assert folded.pvalue > 0.001
