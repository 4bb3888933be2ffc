"""A folder of images by class, with folders of splits above or without: the place of a file is its label."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from bonafide.project.errors import InputError
from bonafide.sources.images.byte_columns import ByteColumn
from bonafide.sources.images.found import Found
from bonafide.sources.images.image_folder import ImageFolder, RefusedError

SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
HELD_OUT = re.compile(r"[a-z][a-z0-9_]{0,40}")  # as quality.splits has it
BY_CLASS, BY_SPLIT = 2, 3  # parts of a path


def read_class_folders(root: Path, files: Sequence[Path], not_read: list[str]) -> Found:
    """The images of `files`, all below `root`: `id` (the path within it), `image`, `label` and, by folders, `split`.

    `<class>/<file>` or `<split>/<class>/<file>`. Raises InputError for a file that lies in another way.
    """
    parts = [file.relative_to(root).parts for file in files]
    splits = split_names(root, parts)
    folder, images = ImageFolder(root), ByteColumn()
    for one in parts:
        path = "/".join(one)
        try:
            found = folder.read(path)
        except RefusedError as error:
            raise InputError(f"{root / path}: {error}") from None
        if found is None:
            raise InputError(f"{root / path}: a link to nothing, or gone meanwhile")
        images.add(found)
    columns = {
        "id": pa.array(map("/".join, parts), pa.string()),
        "image": images.finish(),
        "label": pa.array((one[-2] for one in parts), pa.string()),
    }
    if splits:
        columns["split"] = pa.array((splits[one[0]] for one in parts), pa.string())
    counts = Counter("/".join(one[:-1]) for one in parts)
    facts: list[dict[str, str | int]] = [
        {"file": f"{name}/", "rows": n, "form": "images"} for name, n in counts.items()
    ]
    return Found(pa.table(columns), facts, not_read)


def split_names(root: Path, parts: Sequence[Sequence[str]]) -> dict[str, str]:
    """The split of each top folder; none where the top folders are classes. Raises InputError where they are neither.

    Folders below the top are told by the depth of the files in them, which must be the same everywhere.
    """
    depths = Counter(map(len, parts))
    shown = "images lie in <class>/ or <split>/<class>/"
    common = BY_SPLIT if depths[BY_SPLIT] > depths[BY_CLASS] else BY_CLASS
    for one in parts:
        if len(one) != common:
            where = "at the top, in no class" if len(one) == 1 else f"{len(one) - 1} folders deep"
            raise InputError(f"{root / '/'.join(one)}: {where}, where {shown}, all alike: move it or take it away")
    tops = dict.fromkeys(one[0] for one in parts)
    if common == BY_CLASS:
        if all(top.lower() in SPLITS for top in tops):
            raise InputError(f"{root}: {', '.join(tops)} hold images and no folders of classes: {shown}")
        return {}
    splits = {top: SPLITS.get(top.lower(), top) for top in tops}
    for top, split in splits.items():
        if not HELD_OUT.fullmatch(split):
            raise InputError(f"{root / top}: holds folders, and {top!r} is no split's name, a lower-case word: {shown}")
    if "train" not in splits.values():
        raise InputError(f"{root}: {', '.join([*tops][:8])} hold folders, and none of them is train: {shown}")
    return splits
