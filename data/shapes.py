"""Loader: drawn shapes, to try the pipeline of images without a network; see shapes.md."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

ROWS, SIDE = 2000, 32
NEAR, FAR = 5.0, 9.0  # pixels, the radius of a shape
Mask = Callable[[Any, Any, float], Any]

SHAPES: dict[str, Mask] = {  # of places (x, y) about the middle, and a radius
    "cross": lambda x, y, r: ((np.abs(x) < r / 3) | (np.abs(y) < r / 3)) & (np.maximum(np.abs(x), np.abs(y)) < r),
    "disc": lambda x, y, r: np.hypot(x, y) < r,
    "ring": lambda x, y, r: np.abs(np.hypot(x, y) - 0.8 * r) < 0.25 * r,
    "square": lambda x, y, r: np.maximum(np.abs(x), np.abs(y)) < 0.9 * r,
    "stripes": lambda x, y, r: ((x + y) % 6 < 3) & (np.maximum(np.abs(x), np.abs(y)) < r),
    "triangle": lambda x, y, r: (y < 0.7 * r) & (2 * np.abs(x) < y + r),
}


def load(downloads: dict[str, Path]) -> pa.Table:  # noqa: ARG001
    """A row a drawing: image (PNG), label (a key of SHAPES) and ground (dark or light)."""
    return pa.table(draw(ROWS, SIDE))


def draw(rows: int, side: int) -> dict[str, list[Any]]:
    """Columns of drawings of side x side pixels, the same every time: any colour, size and place, on a noisy ground."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    columns: dict[str, list[Any]] = {"image": [], "label": [], "ground": []}
    for row in range(rows):
        label, is_light = [*SHAPES][row % len(SHAPES)], bool(rng.integers(2))
        pixels = rng.integers(0, 80, (side, side, 3)) + (100 if is_light else 0)
        right, down = rng.uniform(-0.1, 0.1, 2) * side
        radius = rng.uniform(NEAR, FAR) * side / SIDE
        pixels[SHAPES[label](x - right, y - down, radius)] = rng.integers(0, 256, 3)
        file = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
        found = (file.getvalue(), label, "light" if is_light else "dark")
        for name, value in zip(columns, found, strict=True):
            columns[name].append(value)
    return columns
