"""Near-duplicates are found in other splits, changed as people change pictures; others are not."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageEnhance

from bonafide.images.header import Limits
from bonafide.quality.images.image_faults import examine_images
from bonafide.quality.images.near_duplicates import CORRELATION, DISTANCE, correlate, find_near
from tests.images.files import noise, save

CIFAR = Path(__file__).parents[4] / "shared/data/cifar10.parquet"


def scene(seed, side=64):
    """Something like a photograph: coarse and fine shapes."""
    coarse = Image.fromarray(noise(5, 5, seed)).resize((side, side), Image.Resampling.BICUBIC)
    fine = Image.fromarray(noise(12, 12, seed + 10_000)).resize((side, side), Image.Resampling.BICUBIC)
    return Image.blend(coarse, fine, 0.5)


def records(pictures):
    images = pa.array([save(picture) for picture in pictures], pa.large_binary())
    return examine_images(pa.chunked_array([images]), Limits())


def near(pictures, ranks):
    found = find_near(records(pictures), np.arange(len(pictures)), np.array(ranks))
    return dict(zip(found.rows.tolist(), found.partners.tolist(), strict=True))


def jpeg(picture):
    with Image.open(BytesIO(save(picture, "JPEG", quality=30))) as image:
        return image.convert("RGB")


CHANGED = {
    "compressed": jpeg,
    "small": lambda p: p.resize((32, 32), Image.Resampling.BOX),
    "large": lambda p: p.resize((200, 150), Image.Resampling.BICUBIC),
    "dark": lambda p: ImageEnhance.Brightness(p).enhance(0.5),
    "pale": lambda p: ImageEnhance.Contrast(p).enhance(0.5),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "cropped": lambda p: p.crop((1, 1, 63, 63)),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_changed_picture_is_found(change):
    originals = [scene(k) for k in range(20)]
    others = [scene(k) for k in range(100, 300)]
    found = near([*originals, *others, *(change(p) for p in originals)], [0] * 220 + [1] * 20)
    assert found == {220 + k: k for k in range(20)}


def test_rows_of_one_split_are_not_compared_and_places_are_among_the_rows():
    pictures = [scene(1), scene(1, side=32), scene(2), scene(1, side=48)]
    assert near(pictures, [0, 0, 0, 0]) == {}
    assert near(pictures, [1, 1, 0, 1]) == {}
    found = find_near(records([scene(7), *pictures]), np.array([1, 3, 4]), np.array([0, 1, 1]))
    assert (found.rows.tolist(), found.partners.tolist()) == ([2], [0])


def test_each_of_many_alike_has_a_partner():
    base = np.asarray(scene(3, side=32)).astype(int)
    chance = np.random.default_rng(0)
    alike = [
        Image.fromarray((base + chance.integers(-4, 5, base.shape)).clip(0, 255).astype(np.uint8)) for _ in range(3000)
    ]
    found = near(alike, [0] * 1000 + [1] * 2000)
    assert len(found) > 1990


def test_a_frame_makes_no_duplicate_and_gradients_of_nothing_none():
    def framed(seed):
        picture = Image.new("RGB", (64, 64), "white")
        picture.paste(scene(seed, side=52), (6, 6))
        return picture

    assert near([framed(k) for k in range(60)], [0, 1] * 30) == {}
    flat = np.zeros((1, 16, 16), dtype=np.uint8)
    assert correlate(flat, flat).tolist() == [0]


@pytest.mark.skipif(not CIFAR.exists(), reason="shared/data/cifar10.parquet is not here")
def test_of_cifar_nearly_all_is_found_that_comparing_all_pairs_finds():
    table = pq.read_table(CIFAR)
    table = table.filter(pc.equal(table["label"], "automobile"))
    found = examine_images(table["image"].cast(pa.large_binary()), Limits())
    ranks = pc.equal(table["split"], "test").cast(pa.int64()).to_numpy()
    near = find_near(found, np.arange(len(table)), ranks)
    every = set(all_pairs(found, ranks))
    assert 35 <= len(every) <= 55  # of 1,000; the white car of one brochure is there many times
    assert set(near.rows.tolist()) <= every
    assert len(near.rows) >= 0.9 * len(every)


def all_pairs(found, ranks):
    """Rows of rank 1 that are like a row of rank 0, each compared to each."""
    small = np.frombuffer(b"".join(found["small"].to_pylist()), dtype=np.uint8).reshape(-1, 16, 16)
    straight, mirrored = found["difference"].to_numpy(), found["mirrored"].to_numpy()
    first = np.flatnonzero(ranks == 0)
    for row in np.flatnonzero(ranks).tolist():
        for own, code in ((small[row], straight[row]), (small[row][:, ::-1], mirrored[row])):
            others = first[np.bitwise_count(straight[first] ^ code) <= DISTANCE]
            if (correlate(np.repeat(own[None], len(others), axis=0), small[others]) >= CORRELATION).any():
                yield row
