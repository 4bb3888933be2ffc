"""Images without a table: a folder of images by class, or one of CIFAR's archives."""

from collections.abc import Mapping
from pathlib import Path

from bonafide.sources.columns import check_columns
from bonafide.sources.images.cifar import read_cifar
from bonafide.sources.images.class_folders import read_class_folders
from bonafide.sources.images.image_folder import is_image
from bonafide.sources.images.tar_members import is_archive
from bonafide.sources.tables import Source, find_files, is_table


def read_image_source(path: Path, wanted: Mapping[str, str]) -> Source | None:
    """The `wanted` columns of the images that lie at a path; None where it is or has a table, or holds no image.

    `wanted` is column: the key of params that asks for it. Raises InputError.
    """
    if path.is_dir():
        files, others = find_files(path, lambda file: is_image(file) or is_table(file))
        if not files or any(map(is_table, files)):
            return None
        found = read_class_folders(path, files, others)
    elif path.is_file() and is_archive(path):
        found = read_cifar(path)
    else:
        return None
    check_columns(found.table.column_names, wanted, str(path))
    types = {field.name: "image" if field.name == "image" else "text" for field in found.table.schema}
    return Source(found.table.select(list(wanted)), found.files, types, found.not_read)
