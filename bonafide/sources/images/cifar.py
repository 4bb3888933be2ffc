"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from their archives, binary or of Python's pickles, to one table.

The forms: https://www.cs.toronto.edu/~kriz/cifar.html. A binary row is its labels, a byte each, and 3,072 bytes of
pixels: 32 x 32 of red, then of green, then of blue. A pickled batch is a dict of an array (n, 3072) of the same pixels
and of lists. Both give the same images, labels and ids.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bonafide.project.errors import InputError
from bonafide.sources.images.byte_columns import ByteColumn
from bonafide.sources.images.cifar_pickles import PIXELS, read_pickled_batch, read_pickled_names
from bonafide.sources.images.found import Found
from bonafide.sources.images.png import to_png
from bonafide.sources.images.tar_members import read_members

SHAPE = (3, 32, 32)  # channels, height, width
TEXTS = {
    "batches.meta.txt": "label",
    "fine_label_names.txt": "label",
    "coarse_label_names.txt": "coarse_label",
}


class Form(NamedTuple):
    """One of the four archives, told by the names of its members."""

    words: str
    batches: str
    """A pattern of the members that have rows."""
    names: tuple[str, ...]
    """Members that have the names of labels."""
    labels: tuple[str, ...]
    """Columns of labels; of a binary row in the order of its bytes."""


FORMS = (
    Form("CIFAR-10, binary", r"(data_batch_[1-9]\d?|test_batch)\.bin", ("batches.meta.txt",), ("label",)),
    Form("CIFAR-10, pickles", r"data_batch_[1-9]\d?|test_batch", ("batches.meta",), ("label",)),
    Form(
        "CIFAR-100, binary",
        r"(train|test)\.bin",
        ("fine_label_names.txt", "coarse_label_names.txt"),
        ("coarse_label", "label"),
    ),
    Form("CIFAR-100, pickles", r"train|test", ("meta",), ("coarse_label", "label")),
)


@dataclass(frozen=True)
class Batch:
    """The rows of one member."""

    images: pa.ChunkedArray
    """PNG files, large_binary."""
    codes: dict[str, npt.NDArray[np.uint8]]
    """Labels as numbers, (n,), by column."""
    filenames: list[str] | None


@dataclass
class Archive:
    """What was found in one."""

    path: Path
    forms: dict[str, Form] = field(default_factory=dict)
    """By member that any of CIFAR's archives has."""
    batches: dict[str, Batch] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    """Of each column of labels."""

    def add(self, member: str, content: bytes) -> None:
        """Take a member, if it has rows or names; raise InputError where it is damaged, or there a second time."""
        form = next((one for one in FORMS if member in one.names or re.fullmatch(one.batches, member)), None)
        if form is None:
            return
        if member in self.forms:
            raise InputError(f"{self.path}: has {member} twice")
        self.forms[member] = form
        where = f"{self.path}: {member}"
        if member in form.names:
            self.names |= read_names(member, content, where)
        else:
            self.batches[member] = read_batch(form, content, where)


def read_cifar(path: Path) -> Found:
    """The rows of one of CIFAR's archives: id (member and row), image, label, split and what else it has.

    CIFAR-100 has a `coarse_label` beside the fine `label`, pickles a `filename`. Train's batches come first, by number.
    Raises InputError for any other archive, and for one that is damaged or lacks a member.
    """
    archive = Archive(path)
    for member, content in read_members(path):
        archive.add(member, content)
    form, batches = check_members(archive), archive.batches
    columns = ["id", "image", *form.labels[::-1], "split"]
    columns += ["filename"] if all(batch.filenames is not None for batch in batches.values()) else []
    tables, files = [], []
    for member in sorted(batches, key=lambda member: ("test" in member, batch_number(member))):
        tables.append(batch_table(member, batches[member], archive.names, f"{path}: {member}").select(columns))
        files.append({"file": member, "rows": tables[-1].num_rows, "form": form.words})
    return Found(pa.concat_tables(tables), files, [])


def batch_number(member: str) -> int:
    """The number in a member's name, 0 where it has none."""
    number = re.search(r"batch_(\d+)", member)
    return int(number[1]) if number else 0


def check_members(archive: Archive) -> Form:
    """The archive's form; raise InputError where its members are not those of one form, all of them."""
    path, found = archive.path, archive.forms
    forms = [*dict.fromkeys(found.values())]
    if len(forms) != 1:
        what = "one of several of CIFAR's forms" if forms else "none of CIFAR's"
        raise InputError(f"{path}: an archive, {what}: unpack it, and name a folder of images by class")
    [form] = forms
    suffix = ".bin" if form.batches.endswith("bin") else ""
    last = max(1, *map(batch_number, found))
    several = [*(f"data_batch_{number}" for number in range(1, last + 1)), "test_batch"]
    stems = several if "batch" in form.batches else ["train", "test"]
    for member in (*form.names, *(f"{stem}{suffix}" for stem in stems)):
        if member not in found:
            raise InputError(f"{path}: {form.words}: has no {member}: is it whole?")
    for name in form.labels:
        if name not in archive.names:
            raise InputError(f"{path}: {form.names[0]}: no list of names for {name!r}")
    return form


def read_names(member: str, content: bytes, where: str) -> dict[str, list[str]]:
    """The names of labels, in the order of their numbers, by column."""
    if member not in TEXTS:
        return read_pickled_names(content, where)
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8") from None
    return {TEXTS[member]: [line.strip() for line in lines if line.strip()]}


def read_batch(form: Form, content: bytes, where: str) -> Batch:
    """The rows of one member, their pixels as PNG."""
    if form.words.endswith("pickles"):
        pixels, codes, filenames = read_pickled_batch(content, form.labels, where)
    else:
        width = len(form.labels) + PIXELS
        if not content or len(content) % width:
            raise InputError(f"{where}: {len(content):,} bytes are no rows of {width:,} bytes: is it whole?")
        rows = np.frombuffer(content, np.uint8).reshape(-1, width)
        codes = {name: rows[:, position].copy() for position, name in enumerate(form.labels)}
        pixels, filenames = rows[:, len(form.labels) :], None
    images = ByteColumn()
    for planes in pixels:
        images.add(to_png(planes.reshape(SHAPE).transpose(1, 2, 0)))
    return Batch(images.finish(), codes, filenames)


def batch_table(member: str, batch: Batch, names: dict[str, list[str]], where: str) -> pa.Table:
    """The columns of one member's rows."""
    rows, stem = len(batch.images), member.removesuffix(".bin")
    columns: dict[str, Any] = {"id": pa.array([f"{stem}/{row}" for row in range(rows)]), "image": batch.images}
    for name in ("label", "coarse_label"):
        if name in batch.codes:
            wrong = np.flatnonzero(batch.codes[name] >= len(names[name]))
            if len(wrong):
                code = batch.codes[name][wrong[0]]
                raise InputError(f"{where}: row {wrong[0]} has the {name} {code}, of {len(names[name])} names")
            columns[name] = pa.array(names[name], pa.string()).take(pa.array(batch.codes[name]))
    columns["split"] = pa.array(["test" if "test" in member else "train"] * rows)
    if batch.filenames is not None:
        columns["filename"] = pa.array(batch.filenames, pa.string())
    return pa.table(columns)
