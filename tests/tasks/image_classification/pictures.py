"""Made-up images with a colour for each class, and what evaluate has of them."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from bonafide.protocol import Split

LABELS = ("red", "green", "blue")


def images(rows, size=8, classes=3, seed=0):
    """Noisy images (n, size, size, 3) uint8, brighter in the channel of their class, and the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    pixels = rng.integers(0, 200, (rows, size, size, 3))
    pixels[np.arange(rows), :, :, labels % 3] += 50
    return pixels.astype(np.uint8), labels


def split(rows, *, size=8, seed=0, near=None, shown=True):
    """A split of such images."""
    pixels, labels = images(rows, size, len(LABELS), seed)
    ids = [f"{seed}-{row}" for row in range(rows)]
    columns = {"id": ids, "label": [LABELS[label] for label in labels], "group": ids}
    if near is not None:
        columns["near_duplicate"] = pa.array(near, pa.string())
    return Split(pa.table(columns), {"pixels": pixels, "labels": labels, "ids": np.array(ids)}, shown=shown)


def splits(size=8):
    """Three of them."""
    return {name: split(90, size=size, seed=seed) for seed, name in enumerate(("train", "validation", "test"))}


def params(labels=LABELS):
    """The sections that evaluate reads."""
    return SimpleNamespace(
        task=SimpleNamespace(labels=list(labels)), evaluate=SimpleNamespace(calibration_bins=5), seed=1
    )
