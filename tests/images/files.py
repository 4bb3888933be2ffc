"""Image files made by hand: what no library writes."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image


def save(image, form="PNG", **options):
    """The bytes of a file."""
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def noise(height=16, width=16, seed=0):
    """Random pixels (height, width, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def chunk(kind, data):
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, extra=b"", rows=None):
    """A PNG of 8-bit RGB whose header claims a size; `rows` are its filtered rows, or a single byte."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(b"\0" if rows is None else rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def tiff(tags, following=0, body=b""):
    """A little-endian TIFF: `tags` are (tag, values) of one page, `following` the place of the next page's."""
    place = 8 + 2 + 12 * len(tags) + 4
    entries, blob = b"", b""
    for tag, values in sorted(tags):
        packed = struct.pack(f"<{len(values)}I", *values)
        where = packed if len(values) == 1 else struct.pack("<I", place + len(blob))
        blob += b"" if len(values) == 1 else packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + where
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + blob + body


def grey_tiff(*more, following=0):
    """A TIFF of 16 x 16 black pixels."""
    tags = [(256, [16]), (257, [16]), (258, [8]), (259, [1]), (262, [1]), (273, [8]), (277, [1]), (279, [256]), *more]
    return tiff(tags, following, bytes(400))


def endless_tiff(pages):
    """A TIFF of so many pages, 18 bytes each."""
    start = len(grey_tiff())
    each = struct.pack("<HHHI", 1, 256, 3, 1) + b"\1\0\0\0"
    places = [*range(start + 18, start + 18 * pages, 18), 0]
    return grey_tiff(following=start) + b"".join(each + struct.pack("<I", place) for place in places)


def animation(form):
    """Two frames of different colours."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    return save(frames[0], form, save_all=True, append_images=frames[1:], duration=100)


def small_files():
    """A small sound file of each format, and of modes that decode by other ways."""
    rgb = Image.fromarray(noise())
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "JPEG": save(rgb, "JPEG", exif=exif),
        "progressive": save(rgb, "JPEG", progressive=True),
        "CMYK": save(rgb.convert("CMYK"), "JPEG"),
        "PNG": save(rgb, exif=exif),
        "palette": save(rgb.quantize(16), transparency=3),
        "16 bit grey": save(Image.fromarray(noise()[:, :, 0].astype(np.uint16) * 200)),
        "GIF": save(rgb.quantize(16), "GIF"),
        "BMP": save(rgb, "BMP"),
        "TIFF": save(rgb, "TIFF", compression="tiff_lzw"),
        "plain TIFF": save(rgb, "TIFF", exif=exif),
        "JPEG in TIFF": save(rgb, "TIFF", compression="jpeg"),
        "WebP": save(rgb, "WEBP"),
        "lossless WebP": save(rgb.convert("RGBA"), "WEBP", lossless=True, exif=exif),
    }
