"""CIFAR's four archives in miniature, byte by byte as the real ones are laid out; pickles as Python 2 wrote them."""

import io
import struct
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CLASSES = ["airplane", "automobile", "bird"]
COARSE = ["vehicles", "animals"]


class Global(NamedTuple):
    """A name that a pickle looks up."""

    module: str
    name: str


class Reduced(NamedTuple):
    """A call, and the state that its result is given."""

    function: Any
    arguments: Any
    state: Any


def pickle2(value):
    """A pickle of protocol 2, as Python 2's cPickle writes it: strings are bytes."""
    return b"\x80\x02" + written(value) + b"."


def written(value):
    constants = {None: b"N", True: b"\x88", False: b"\x89"}
    if value is None or isinstance(value, bool):
        return constants[value]
    writers = {
        int: number,
        str: lambda text: string(text.encode("latin-1")),
        bytes: string,
        list: lambda values: b"]" + (b"(" + many(values) + b"e" if values else b""),
        dict: lambda items: (
            b"}" + (b"(" + many(one for item in items.items() for one in item) + b"u" if items else b"")
        ),
        tuple: lambda values: (
            many(values) + b")\x85\x86\x87"[len(values) :][:1] if len(values) < 4 else b"(" + many(values) + b"t"
        ),
        Global: lambda name: b"c" + "\n".join([*name, ""]).encode(),
        Reduced: lambda call: written(call.function) + written(call.arguments) + b"R" + written(call.state) + b"b",
    }
    return writers[type(value)](value)


def many(values):
    return b"".join(map(written, values))


def string(data):
    return (b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))) + data


def number(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    return b"M" + struct.pack("<H", value) if 0 <= value < 2**16 else b"J" + struct.pack("<i", value)


def array(pixels, *, by_columns=False):
    """NumPy's array of bytes as its pickle has it."""
    dtype = Reduced(Global("numpy", "dtype"), ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0))
    made = (Global("numpy", "ndarray"), (0,), "b")
    data = pixels.tobytes("F" if by_columns else "C")
    state = (1, pixels.shape, dtype, by_columns, data)
    return Reduced(Global("numpy.core.multiarray", "_reconstruct"), made, state)


def planes(rows, seed):
    """Pixels as the archives have them, uint8 (rows, 3072)."""
    return np.random.default_rng(seed).integers(0, 256, (rows, 3072), np.uint8)


def cifar10_binary(batches=2, rows=4):
    """By member: bytes, in the odd order of the real archive."""
    members = {f"data_batch_{n}.bin": binary(planes(rows, n), [codes(rows, n)]) for n in range(batches, 0, -1)}
    members["batches.meta.txt"] = ("\n".join(CLASSES) + "\n\n").encode()
    return members | {"test_batch.bin": binary(planes(rows, 99), [codes(rows, 99)]), "readme.html": b"<p>"}


def cifar100_binary(rows=4):
    return {
        "coarse_label_names.txt": "\n".join(COARSE).encode(),
        "fine_label_names.txt": "\n".join(CLASSES).encode(),
        "train.bin": binary(planes(rows, 1), [coarse(rows, 1), codes(rows, 1)]),
        "test.bin": binary(planes(rows, 99), [coarse(rows, 99), codes(rows, 99)]),
    }


def cifar10_python(batches=2, rows=4, *, by_columns=False):
    def batch(seed):
        return pickle2(
            {
                "batch_label": f"training batch {seed} of {batches}",
                "labels": codes(rows, seed).tolist(),
                "data": array(planes(rows, seed), by_columns=by_columns),
                "filenames": [f"plane_s_{row:06}.png" for row in range(rows)],
            }
        )

    members = {"batches.meta": pickle2({"num_cases_per_batch": rows, "label_names": CLASSES, "num_vis": 3072})}
    return members | {"test_batch": batch(99)} | {f"data_batch_{n}": batch(n) for n in range(1, batches + 1)}


def cifar100_python(rows=4):
    def batch(seed):
        return pickle2(
            {
                "filenames": [f"ship_s_{row:06}.png" for row in range(rows)],
                "batch_label": "training batch 1 of 1",
                "fine_labels": codes(rows, seed).tolist(),
                "coarse_labels": coarse(rows, seed).tolist(),
                "data": array(planes(rows, seed)),
            }
        )

    meta = pickle2({"fine_label_names": CLASSES, "coarse_label_names": COARSE})
    return {"meta": meta, "test": batch(99), "train": batch(1), "file.txt~": b""}


def codes(rows, seed):
    return np.random.default_rng(seed + 1000).integers(0, len(CLASSES), rows, np.uint8)


def coarse(rows, seed):
    return np.random.default_rng(seed + 2000).integers(0, len(COARSE), rows, np.uint8)


def binary(pixels, labels):
    return np.concatenate([*(one[:, None] for one in labels), pixels], axis=1).tobytes()


def pack(path, members, folder="cifar"):
    """A tar archive of members, packed by gzip unless its name ends in .tar."""
    with tarfile.open(path, "w" if str(path).endswith(".tar") else "w:gz") as archive:
        top = tarfile.TarInfo(folder)
        top.type = tarfile.DIRTYPE
        archive.addfile(top)
        for name, content in members.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return Path(path)
