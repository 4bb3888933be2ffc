"""Small images of any format, and how the task reads where they lie."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from bonafide.params.sections import Data
from bonafide.sources.columns import arrange, column_kinds, wanted_columns
from bonafide.sources.data_source import read_source

KINDS = {"image": "image", "label": "category"}


def image(seed=0, form="PNG"):
    """The bytes of an image file of 8 x 8 pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def put(path, content=None):
    """Write a file, an image of its path's own unless `content` is given; return what was written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = image(len(str(path)) * 1000 + sum(map(ord, str(path)))) if content is None else content
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path.read_bytes()


def data(source, slices=(), **columns):
    return Data(source=source, downloads=[], columns=columns, sample=1, slices=list(slices), quotes="auto")


def read(source, slices=(), **columns):
    """What fetch reads of a source: the raw table, and the source."""
    params = data(source, slices, **columns)
    found = read_source(params, wanted_columns(params, KINDS), column_kinds(params, KINDS))
    return arrange(found.table, params, KINDS), found
