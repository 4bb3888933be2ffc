"""What images are compared by: their exact pixels, a difference hash, and a small grey picture.

The difference hash (dHash; N. Krawetz 2013) says of 8 x 8 pairs of neighbours which one is brighter: it does not change
with the format, the size, brightness or contrast, and little with compression.
"""

from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from bonafide.images.decode import Pixels

HASHED = 8  # rows and pairs of a row in a difference hash
SIDE = 16  # of the small grey picture
DIGEST = 16  # bytes: two images of a billion share one by chance with a probability of 10^-21


class Fingerprints(NamedTuple):
    """Of one image."""

    exact: bytes
    """(16,) the same for the same pixels and shape alone, whatever the file's format."""
    difference: int
    """64 bits."""
    mirrored: int
    """The difference hash of the mirror image, left to right."""
    small: bytes
    """(16, 16) uint8 grey, each the mean of what it stands for."""


def fingerprints(pixels: Pixels) -> Fingerprints:
    """What an image of (height, width, 3) uint8 is compared by."""
    digest = blake2b(pixels.tobytes(), digest_size=DIGEST, person=str(pixels.shape[:2]).encode()[:16]).digest()
    grey = Image.fromarray(pixels).convert("L")
    coarse = np.asarray(grey.resize((HASHED + 1, HASHED), Image.Resampling.BICUBIC))
    small = grey.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()
    return Fingerprints(digest, _difference(coarse), _difference(coarse[:, ::-1]), small)


def _difference(coarse: npt.NDArray[np.uint8]) -> int:
    """Whether each pixel is brighter than the one to its left, as 64 bits; `coarse` is (8, 9)."""
    return int.from_bytes(np.packbits(coarse[:, 1:] > coarse[:, :-1]).tobytes())
