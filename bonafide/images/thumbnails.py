"""Small pictures for pages: PNG that we write from pixels, so that no byte of a user's file reaches a browser."""

import base64
from io import BytesIO

from PIL import Image

from bonafide.images.decode import Pixels

LARGEST = 96  # pixels of the longer side


def data_uri(pixels: Pixels) -> str:
    """A data: URI of pixels (height, width, 3) uint8, shrunk to 96 pixels where they are more.

    Tiny images are not enlarged: pages do that (`image-rendering: pixelated`), without a byte more.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BICUBIC)
    written = BytesIO()
    image.save(written, "PNG")
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"
