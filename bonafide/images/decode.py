"""Bytes of an image file to RGB pixels, in one declared way, or one reason why not."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from bonafide.images.header import ANY, BadImageError, Header, Limits, opened, orientation_of

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3) uint8, RGB."""

TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what undoes each orientation: EXIF 2.3, 4.6.4
SCALE = 257  # 65,535 / 255: the darkest and the brightest of 16 bits are those of 8


def decode(data: bytes, limits: Limits = ANY) -> Pixels:
    """The pixels of an image file, (height, width, 3) uint8 RGB, upright; raises BadImageError where there are none."""
    return read(data, limits)[1]


def read(data: bytes, limits: Limits = ANY) -> tuple[Header, Pixels]:
    """An image's header, with the orientation that was undone, and its pixels as `decode` gives them.

    Transparent pixels are shown on white, 16 bits a channel are scaled to 8. Colour profiles are not applied: the
    numbers are those that every loader of data sets reads.
    """
    with opened(data, limits) as (image, before):
        image.load()
        _check_size(image, before)
        late = before.format == "PNG"  # EXIF may stand behind the pixels
        header = replace(before, orientation=orientation_of(image)) if late else before
        turned: Any = image
        if header.format != "TIFF" and header.orientation in TURNED:  # TIFF's is undone by load
            turned = image.transpose(TURNED[header.orientation])
            turned.info = image.info
        return header, np.ascontiguousarray(_rgb(turned))


def _check_size(image: ImageFile.ImageFile, header: Header) -> None:
    """What was decoded must be what the header was judged by."""
    if sorted(image.size) != sorted((header.width, header.height)):
        raise BadImageError(f"{header.format} whose pixels are not as many as its header says")


def _rgb(image: Image.Image) -> Pixels:
    """An image of any mode as RGB."""
    if image.mode.startswith(("I", "F")):
        return np.repeat(_eight_bits(image)[:, :, None], 3, axis=2)
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa"):
        return _on_white(image.convert("RGBA"))
    try:
        return np.asarray(image.convert("RGB"))
    except ValueError as error:  # LAB
        raise BadImageError(f"{image.mode} pixels: save it as RGB", "unknown_mode") from error


def _eight_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Grey of 16 bits as 8, rounded to the nearest; what has more bits has no white of its own, and is refused."""
    values = np.asarray(image)
    if image.mode.startswith("F") or values.min() < 0 or values.max() > 65_535:
        raise BadImageError(f"grey of 32 bits ({image.mode}): save it with 8 or 16", "unknown_mode")
    key = image.info.get("transparency")
    scaled = (values.astype(np.uint32) + SCALE // 2) // SCALE
    if isinstance(key, int):  # PNG's one transparent grey
        scaled[values == key] = 255
    return scaled.astype(np.uint8)


def _on_white(image: Image.Image) -> Pixels:
    """RGBA as it looks on white."""
    if image.getchannel("A").getextrema()[0] == 255:
        return np.asarray(image.convert("RGB"))
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
