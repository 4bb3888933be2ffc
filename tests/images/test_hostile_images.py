"""Files that want harm, or are no pictures: each is one reason in a few words, or is read right."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from bonafide.images.decode import decode, read
from bonafide.images.header import FAULTS, BadImageError, Limits, read_header
from tests.images.files import animation, chunk, endless_tiff, noise, png, save, small_files

LIMITS = Limits(min_side=8, max_side=1024, max_pixels=1_000_000)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
AVIF = b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + bytes(100)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
FILES = small_files()


def reason(data, limits=LIMITS):
    with pytest.raises(BadImageError) as caught:
        decode(data, limits)
    return caught.value.fault, str(caught.value)


@pytest.mark.parametrize(
    ("data", "fault", "words"),
    [
        (b"", "damaged", "no bytes at all"),
        (b"airplane, 3\n", "unknown_format", "no image format that is read"),
        (HEIC, "unknown_format", "HEIC: save it as JPEG or PNG"),
        (AVIF, "unknown_format", "AVIF: save"),
        (SVG, "unknown_format", "SVG: save"),
        (b"\xef\xbb\xbf <svg onload='x()'>", "unknown_format", "SVG: save"),
        (b"<!DOCTYPE html><p>404", "unknown_format", "HTML: save"),
        (b"%PDF-1.7\n", "unknown_format", "PDF: save"),
        (b"8BPS\0\1", "unknown_format", "PSD: save"),
        (b"\0\0\1\0\1\0", "unknown_format", "ICO: save"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unknown_format", "EPS: save"),
        (b"version https://git-lfs.github.com/spec/v1", "unknown_format", "Git LFS pointer"),
        (png(60_000, 60_000), "too_many_pixels", "more than 178,956,970 pixels by its header"),
        (png(1025, 1000), "too_many_pixels", "1,025 x 1,000 pixels by its header, of at most 1,000,000 in all"),
        (png(60_000, 1), "too_large", "60,000 x 1 pixels by its header, of at most 1,024 a side"),
        (png(7, 900), "too_small", "7 x 900 pixels by its header, of at least 8 a side"),
        (png(0, 0), "damaged", "PNG that does not decode"),
        (b"GIF89a\x60\xea\x60\xea<script>alert(1)</script>", "damaged", "GIF that does not decode"),
        (b"GIF89a\x10\0\x10\0<script>alert(1)</script>", "damaged", "GIF that does not decode"),
        (animation("GIF"), "several_frames", "GIF of several frames"),
        (animation("PNG"), "several_frames", "PNG of several frames"),
        (animation("WEBP"), "several_frames", "WEBP of several frames"),
        (animation("TIFF"), "several_frames", "TIFF of several frames"),
        (endless_tiff(1_000_000), "several_frames", "TIFF of several frames"),
        (FILES["JPEG"][:-300], "damaged", "JPEG that does not decode: the file ends too early"),
        (FILES["JPEG"] + bytes(33 * 2**20), "too_many_bytes", "of at most 32,777,216 for the pixels"),
        (png(16, 16, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))), "damaged", "unpacks to far too much"),
        (png(16, 16, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**7)))), "damaged", "unpacks to far too much"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:30],
)
def test_one_reason_is_given(data, fault, words):
    found, said = reason(data)
    assert found == fault
    assert words in said
    assert "\n" not in said
    assert "script" not in said


def test_a_jpeg_of_a_few_bytes_is_no_large_grey_picture():
    data = bytearray(FILES["JPEG"])
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", 1000, 1000)
    assert reason(bytes(data)) == ("damaged", "JPEG that does not decode: its bytes are too few for its pixels")


def test_what_stands_behind_a_picture_is_not_read():
    pixels = noise()
    for more in (b"<html><script>alert(1)</script></html>", b"PK\x03\x04" + bytes(100), b"#!/bin/sh\nrm -rf ~\n"):
        np.testing.assert_array_equal(decode(save(Image.fromarray(pixels)) + more, LIMITS), pixels)


def test_a_name_and_a_format_need_not_agree():
    assert read_header(save(Image.fromarray(noise()), "BMP")).format == "BMP"  # be it called a.png


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_has_the_right_colours(form):
    for cmyk, rgb in (((0, 255, 255, 0), (255, 0, 0)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))):
        header, pixels = read(save(Image.new("CMYK", (16, 16), cmyk), form))
        assert header.mode == "CMYK"
        assert abs(pixels.astype(int) - rgb).max() <= 3


def test_transparent_pixels_are_white():
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(0, (0, 0, 8, 16))
    found = decode(save(palette, transparency=0))
    assert (found[:, :8] == 255).all()
    assert (found[:, 8:] == (0, 0, 255)).all()
    assert (decode(save(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))) == 255).all()
    assert abs(decode(save(Image.new("LA", (8, 8), (0, 128)))).astype(int) - 127).max() <= 1
    assert (decode(save(Image.new("RGB", (8, 8), (1, 2, 3)), transparency=(1, 2, 3))) == 255).all()
    assert (decode(save(Image.new("L", (8, 8), 9), transparency=9)) == 255).all()


def test_one_bit_is_black_and_white():
    bits = noise()[:, :, 0] > 127
    for form in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(decode(save(Image.fromarray(bits), form))[:, :, 2], bits * 255)


def test_numbers_without_a_white_are_refused():
    for values in (np.full((8, 8), 0.5, dtype=np.float32), np.full((8, 8), 70_000, dtype=np.int32)):
        fault, said = reason(save(Image.fromarray(values), "TIFF"))
        assert fault == "unknown_mode"
        assert "save it with 8 or 16" in said
    assert (decode(save(Image.fromarray(np.full((8, 8), 65_535, dtype=np.int32)), "TIFF")) == 255).all()


def test_corrupt_exif_leaves_the_picture(recwarn):
    pixels = noise()
    for exif in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12", b"junk"):
        found = decode(save(Image.fromarray(pixels), exif=exif))
        np.testing.assert_array_equal(found, pixels)
    assert not recwarn.list


@given(
    name=st.sampled_from(sorted(FILES)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    end=st.floats(0, 1),
)
@example(name="TIFF", flips=[], end=0.5)
def test_a_changed_file_is_read_or_refused(name, flips, end):
    data = bytearray(FILES[name])
    for place, value in flips:
        data[int(place * min(len(data), 400))] = value  # mostly of the header
    data = bytes(data[: round(end * len(data))] if end < 0.5 else data)
    try:
        pixels = decode(data, LIMITS)
    except BadImageError as error:
        assert error.fault in FAULTS  # noqa: PT017
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2:] == (3,)
        assert pixels.shape[0] * pixels.shape[1] <= LIMITS.max_pixels


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    for start in (b"", b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"RIFF\x40\0\0\0WEBPVP8 ", png(16, 16)[:33]):
        with pytest.raises(BadImageError):
            decode(start + data, LIMITS)
