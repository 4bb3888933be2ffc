"""What a folder of images or an archive of them holds."""

from typing import NamedTuple

import pyarrow as pa


class Found(NamedTuple):
    """A table that was made of images, and what it was made of."""

    table: pa.Table
    files: list[dict[str, str | int]]
    """`file`, `rows` and `form` of each folder or member with images."""
    not_read: list[str]
    """What else is there."""
