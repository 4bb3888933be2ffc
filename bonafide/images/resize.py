"""Pixels of any shape to a square of one size."""

from typing import Literal

import numpy as np
from PIL import Image

from bonafide.images.decode import Pixels

Fit = Literal["crop", "stretch", "pad"]


def fit(pixels: Pixels, size: int, how: Fit) -> Pixels:
    """Fit pixels (height, width, 3) uint8 into (size, size, 3): by its middle, distorted, or with black margins.

    Pillow's bicubic filter, which averages over what it shrinks (antialiasing). What has the size stays as it is.
    """
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    image = Image.fromarray(pixels)
    if how == "pad":
        longest = max(height, width)
        inner = max(1, round(width * size / longest)), max(1, round(height * size / longest))
        square = Image.new("RGB", (size, size))
        square.paste(image.resize(inner, Image.Resampling.BICUBIC), _middle((size, size), inner))
        return np.asarray(square)
    if how == "crop":  # before it is shrunk: a filter with a box would look over its edges
        side = min(height, width)
        left, top = _middle((width, height), (side, side))
        image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def _middle(outer: tuple[int, int], inner: tuple[int, int]) -> tuple[int, int]:
    """Where a box begins that lies in the middle of another: (left, top)."""
    return (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2
