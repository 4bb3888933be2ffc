"""The batches of CIFAR's Python archives, from pickles that are read as data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bonafide.project.errors import InputError
from bonafide.sources.images.pickled_data import Call, Name, read_pickle

PIXELS = 3072
ARRAY = (Name("numpy.core.multiarray", "_reconstruct"), Name("numpy._core.multiarray", "_reconstruct"))
DTYPE = Name("numpy", "dtype")
LABELS = {"label": ("labels", "fine_labels"), "coarse_label": ("coarse_labels",)}
NAMES = {"label": ("label_names", "fine_label_names"), "coarse_label": ("coarse_label_names",)}

Pickled = tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[np.uint8]], list[str] | None]


def read_pickled_batch(content: bytes, labels: Sequence[str], where: str) -> Pickled:
    """Pixels (n, 3072), labels (n,) as numbers by column, and file names where it has them."""
    batch = read_dict(content, where)
    pixels = read_array(batch.get("data"), where)
    codes = {}
    for name in labels:
        found = next((batch[key] for key in LABELS[name] if key in batch), None)
        fits = isinstance(found, list) and all(type(code) is int and 0 <= code <= 255 for code in found)
        if found is None or not fits or len(found) != len(pixels):
            raise InputError(f"{where}: {len(pixels)} images and no list of as many numbers for {name!r}")
        codes[name] = np.array(found, np.uint8)
    filenames = batch.get("filenames")
    is_list = isinstance(filenames, list) and all(isinstance(name, str) for name in filenames)
    return pixels, codes, filenames if is_list and filenames and len(filenames) == len(pixels) else None


def read_pickled_names(content: bytes, where: str) -> dict[str, list[str]]:
    """The names of labels, in the order of their numbers, by column."""
    found = read_dict(content, where)
    names = {name: found[key] for name, keys in NAMES.items() for key in keys if key in found}
    if not names or not all(isinstance(one, list) and all(isinstance(n, str) for n in one) for one in names.values()):
        raise InputError(f"{where}: no list of labels' names in it")
    return names


def read_dict(content: bytes, where: str) -> dict[str, Any]:
    """The dict that a member of these archives is."""
    found = read_pickle(content, where)
    if not isinstance(found, dict):
        raise InputError(f"{where}: a pickle of {type(found).__name__}, not of a dict")
    return found


def read_array(value: object, where: str) -> npt.NDArray[np.uint8]:
    """An array of NumPy's, uint8 (n, 3072), from what its pickle would have been built of."""
    match value:
        case Call(
            function=maker,
            state=(_, (int(rows), int(width)), Call(function=kind, arguments=("u1", *_)), bool(by_columns), str(data)),
        ) if maker in ARRAY and kind == DTYPE and width == PIXELS and rows and len(data) == rows * width:
            flat = np.frombuffer(data.encode("latin-1", "replace"), np.uint8)
            return flat.reshape((rows, width), order="F" if by_columns else "C")
    raise InputError(f"{where}: 'data' is no array of bytes with {PIXELS:,} columns")
