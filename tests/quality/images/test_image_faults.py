"""Each image of a table is decoded once; what is wrong, what it measures and what it equals is what was planted."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from bonafide.images.header import Limits
from bonafide.quality.images import measures
from bonafide.quality.images.image_faults import brightness, examine_images, faults, identity, numbers
from tests.images.files import animation, endless_tiff, noise, png, save

LIMITS = Limits(min_side=16, max_side=1024, max_pixels=1_000_000)


def column(images):
    return pa.chunked_array([pa.array(images, pa.large_binary())])


PLANTED = {
    "null_image": None,
    "unknown_format": b"<svg/>",
    "unknown_mode": save(Image.fromarray(np.full((16, 16), 0.5, dtype=np.float32)), "TIFF"),
    "damaged": save(Image.fromarray(noise(200, 200)), "JPEG")[:2000],
    "too_many_bytes": save(Image.fromarray(noise())) + bytes(40 * 2**20),
    "too_many_pixels": png(60_000, 60_000),
    "too_small": png(60_000, 1)[:16] + png(1000, 15)[16:],
    "too_large": png(60_000, 16),
    "several_frames": endless_tiff(1000),
    "constant": save(Image.new("RGB", (16, 16), "teal")),
}


def test_each_fault_is_in_its_row_alone_and_has_a_reason():
    images = [save(Image.fromarray(noise())), *PLANTED.values(), animation("GIF")]
    records = examine_images(column(images), LIMITS)
    found = faults(records)
    assert set(found) == set(PLANTED)
    for place, name in enumerate(PLANTED, 1):
        assert np.flatnonzero(found[name]).tolist()[:1] == [place], name
    assert np.stack([*found.values()]).sum() == len(images) - 1
    assert records["reason"].is_valid().to_pylist() == [False, *[True] * (len(images) - 1)]
    assert records["width"].to_pylist()[6:9] == [None, 1000, 60_000]


def test_the_same_pixels_are_the_same_image_in_any_format_and_shape_counts():
    pixels = noise(16, 32)
    forms = [save(Image.fromarray(pixels), form) for form in ("PNG", "BMP", "TIFF")]
    other = [save(Image.fromarray(pixels.reshape(32, 16, 3))), b"", None]
    found = identity(examine_images(column([*forms, *other]), LIMITS)).to_pylist()
    assert found[0] == found[1] == found[2]
    assert found[3] not in (None, found[0])
    assert found[4:] == [None, None]


def test_brightness_is_the_mean_and_contrast_the_deviation_over_pixels():
    pixels = noise()
    mean, deviation = brightness(pixels)
    assert mean == pytest.approx(pixels.mean() / 255)
    assert deviation == pytest.approx(np.sqrt(pixels.var(axis=(0, 1)).mean()) / 255)
    assert brightness(np.full((5, 7, 3), (9, 99, 199), dtype=np.uint8))[1] == 0


def test_processes_and_chunks_change_nothing():
    images = column([save(Image.fromarray(noise(seed=k))) for k in range(40)] * 60)
    alone = examine_images(images, LIMITS, processes=1)
    assert alone.equals(pa.concat_tables([examine_images(images[:7], LIMITS), examine_images(images[7:], LIMITS)]))
    heavy = column([save(Image.fromarray(noise(1000, 1000, k)), "BMP") for k in range(18)])  # 54 MB: two processes
    assert examine_images(heavy, LIMITS, processes=2).equals(examine_images(heavy, LIMITS, processes=1))
    assert len(examine_images(column([]), LIMITS)) == 0


def test_what_is_measured_and_said():
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(noise()[:, :, 0])
    images = column([save(Image.fromarray(noise(16, 32)), "JPEG", exif=exif), save(grey), save(grey), b"<svg/>"])
    records = examine_images(images, LIMITS)
    table = pa.table({"id": ["a", "b", "c", "d"], "image": images, "label": ["x", "x", "y", None]})
    rows = measures.measured(table, records).to_pylist()
    assert [rows[0][name] for name in ("format", "mode", "shorter_side", "longer_side", "pixels")] == [
        "JPEG",
        "RGB",
        16,
        32,
        512,
    ]
    assert [rows[3][name] for name in ("bytes", "format", "width", "mean")] == [6, None, None, None]
    assert measures.facts(records) == {
        "Formats": "PNG 2, JPEG 1",
        "Pixels": "16 x 16 2, 32 x 16 1",
        "Turned as EXIF says": "1",
        "Converted to RGB": "L 2",
    }
    (kinds,) = measures.table_of_kinds(records)
    assert kinds["rows"] == [["PNG", "L", "16 x 16", 2], ["JPEG", "RGB", "32 x 16", 1]]
    drawn = measures.charts(records, np.array([True, True, True, False]))
    assert drawn[-1]["rows"] == [["PNG L", 2], ["JPEG RGB", 1]]
    assert np.isnan(numbers(records, "mean")[3])
