"""Squares of one size, and thumbnails that browsers show."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from bonafide.images.resize import fit
from bonafide.images.thumbnails import data_uri


@pytest.mark.parametrize("how", ["crop", "stretch", "pad"])
def test_what_fits_is_kept(how):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert fit(pixels, 32, how) is pixels


def test_the_middle_is_kept_or_margins_are_black():
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 200
    assert (fit(wide, 10, "crop") == 200).all()
    assert (fit(wide, 5, "crop") == 200).all()
    stretched = fit(wide, 10, "stretch")
    assert stretched.shape == (10, 10, 3)
    assert stretched[:, 5].min() > 190
    padded = fit(np.full((10, 30, 3), 90, dtype=np.uint8), 30, "pad")
    assert (padded[10:20] == 90).all()
    assert not padded[:10].any()
    assert not padded[20:].any()
    assert fit(np.full((1, 3000, 3), 90, dtype=np.uint8), 8, "pad").shape == (8, 8, 3)


def test_shrinking_averages():
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    small = fit(np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8), 8, "stretch")
    assert abs(small.astype(int) - 127).max() < 12


@pytest.mark.parametrize(
    ("shape", "shown"), [((32, 32, 3), (32, 32)), ((300, 200, 3), (64, 96)), ((1, 900, 3), (96, 1))]
)
def test_thumbnails_are_small_pngs_of_our_own(shape, shown):
    uri = data_uri(np.full(shape, 77, dtype=np.uint8))
    start, _, written = uri.partition(",")
    assert start == "data:image/png;base64"
    with Image.open(BytesIO(base64.b64decode(written)), formats=["PNG"]) as image:
        assert image.size == shown
        assert image.getpixel((0, 0)) == (77, 77, 77)
