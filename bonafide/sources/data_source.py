"""`data.source`: a path of the repository that is a table, a folder of tables, or a loader that makes one."""

import importlib.util
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from bonafide.params.pins import Download
from bonafide.params.sections import Data
from bonafide.project.errors import InputError
from bonafide.sources.columns import NO_KINDS, check_columns
from bonafide.sources.image_source import read_image_source
from bonafide.sources.package_index import pinned_archive
from bonafide.sources.parquet import plain_types, refuse_nested
from bonafide.sources.tables import Source, check_sizes, read_table, with_images
from bonafide.sources.urls import download


def read_source(data: Data, wanted: Mapping[str, str], kinds: Mapping[str, str] = NO_KINDS) -> Source:
    """The `wanted` columns, as they are: column to the key of params that asks for it; images are large_binary.

    `kinds` is column: its kind in the task. Raises InputError, and NetworkError for a loader's downloads.
    """
    path = Path(data.source)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"params.yaml: data.source: {data.source!r} is not a path inside the repository")
    if not path.exists():
        from bonafide.project.folders import left_behind  # MLflow's import, which a table needs not

        raise InputError(f"{path}: no such file or folder (params.yaml: data.source){left_behind(data.source)}")
    return load(path, data, wanted, kinds) if is_loader(data) else read(path, data, wanted, kinds)


def read(path: Path, data: Data, wanted: Mapping[str, str], kinds: Mapping[str, str]) -> Source:
    """What lies at a path: images without a table where the task wants images, else a table or a folder of tables."""
    images = read_image_source(path, wanted) if "image" in kinds.values() else None
    return images or read_table(path, wanted, data.quotes, kinds)


def is_loader(data: Data) -> bool:
    """Whether `data.source` is a loader, which alone reads downloads."""
    return data.source.endswith(".py")


def load(path: Path, data: Data, wanted: Mapping[str, str], kinds: Mapping[str, str]) -> Source:
    """What a loader returns: a Python file with `load(downloads: dict[str, Path])`, name of a package or file: path.

    It returns a table, or the path of one, which is read as any other.
    """
    module = import_loader(path)
    with tempfile.TemporaryDirectory() as scratch:
        files = {}
        for number, pin in enumerate(data.downloads):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            files[pin.key] = pinned_archive(pin, folder) if isinstance(pin, Download) else download(pin, folder)
        table = module.load(files)
        if not isinstance(table, Path):
            return check_table(to_arrow(table, path), path, wanted, kinds)
        try:
            return read(table, data, wanted, kinds)
        except InputError as error:
            raise InputError(re.sub(rf"{re.escape(scratch)}/\d+/", "", str(error))) from None


def import_loader(path: Path) -> Any:
    """The module in a file; raise InputError where it is none, or has no function `load`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}:{error.lineno}: {error.msg}") from None
    if not callable(getattr(module, "load", None)):
        raise InputError(f"{path}: a loader needs a function load(downloads)")
    return module


def check_table(table: pa.Table, path: Path, wanted: Mapping[str, str], kinds: Mapping[str, str]) -> Source:
    """The `wanted` columns of a table that a loader made."""
    if not table.num_rows:
        raise InputError(f"{path}: load() returned no rows")
    check_columns(table.column_names, wanted, str(path))
    refuse_nested(table.schema, wanted, path, kinds)
    found = with_images(plain_types(table.select(list(wanted)), str(path), kinds), kinds, path, None)
    check_sizes(found, path)
    return Source(found, columns={field.name: str(field.type) for field in table.schema})


def to_arrow(table: object, path: Path) -> pa.Table:
    """An Arrow table of what a loader returned."""
    if isinstance(table, pa.Table):
        return table
    import pandas as pd  # 0.4 s that only a loader needs, which has imported it itself

    if not isinstance(table, pd.DataFrame):
        raise InputError(
            f"{path}: load() returned a {type(table).__name__}, not a pandas DataFrame, an Arrow table or a path"
        )
    try:
        return pa.Table.from_pandas(table, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise InputError(f"{path}: load() returned a column of mixed types") from None
