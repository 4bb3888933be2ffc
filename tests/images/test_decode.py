"""Pixels come out as they are meant, whatever the mode, the depth and the orientation."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from bonafide.images.decode import decode, read
from bonafide.images.header import BadImageError, Limits, read_header

LOSSLESS = ("PNG", "BMP", "TIFF", "WEBP")


def save(image, form="PNG", **options):
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", LOSSLESS)
def test_rgb_is_kept(pixels, form):
    header, found = read(save(Image.fromarray(pixels), form, **({"lossless": True} if form == "WEBP" else {})))
    assert (header.format, header.width, header.height, header.mode) == (form, 30, 20, "RGB")
    np.testing.assert_array_equal(found, pixels)


def test_sixteen_bits_are_scaled_not_clipped():
    grey = np.array([[0, 128, 129, 257, 32_768, 65_407, 65_535]], dtype=np.uint16)
    for form in ("PNG", "TIFF"):
        data = save(Image.fromarray(grey), form)
        assert read_header(data).mode.startswith("I;16")
        assert decode(data)[0, :, 1].tolist() == [0, 0, 1, 1, 128, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_orientation_is_undone(pixels, orientation, form):
    turn = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, -1),
        7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
        8: lambda x: np.rot90(x, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    header, found = read(save(Image.fromarray(pixels), form, exif=exif, **options))
    assert header.orientation == orientation
    np.testing.assert_array_equal(found, turn(pixels))


def test_limits_are_those_of_the_header(pixels):
    data = save(Image.fromarray(pixels))
    for limits, fault in (
        (Limits(min_side=21), "too_small"),
        (Limits(max_side=29), "too_large"),
        (Limits(max_pixels=599), "too_many_pixels"),
    ):
        with pytest.raises(BadImageError) as caught:
            read_header(data, limits)
        assert caught.value.fault == fault
    assert decode(data, Limits(20, 30, 600)).shape == (20, 30, 3)


def test_a_jpeg_of_a_phone_is_turned_and_its_further_views_are_no_frames(pixels):
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = decode(save(Image.fromarray(pixels), "JPEG"))
    header, found = read(save(Image.fromarray(pixels), "JPEG", exif=exif))
    assert (header.orientation, header.width, header.height) == (6, 30, 20)
    np.testing.assert_array_equal(found, np.rot90(plain, -1))
    views = save(Image.fromarray(pixels), "MPO", save_all=True, append_images=[Image.new("RGB", (30, 20))])
    header, found = read(views)
    assert (header.format, header.several_frames) == ("JPEG", False)
    np.testing.assert_array_equal(found, plain)
