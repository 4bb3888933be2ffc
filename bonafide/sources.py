"""`data.source`: a path of the repository that is a table, a folder of tables, or a loader that makes one."""

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pyarrow as pa

from bonafide.columns import check_columns, wanted_columns
from bonafide.errors import InputError
from bonafide.packages import source_distribution
from bonafide.params import Data
from bonafide.parquet import plain_types, refuse_nested
from bonafide.pins import Download, Link
from bonafide.tables import Source, check_sizes, read_table
from bonafide.urls import download


def read_source(data: Data) -> Source:
    """The columns that params ask for, as they are. Raises InputError, and NetworkError for a loader's downloads."""
    path = Path(data.source)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"params.yaml: data.source: {data.source!r} is not a path inside the repository")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder (params.yaml: data.source)")
    wanted = wanted_columns(data)
    if not is_loader(data):
        return read_table(path, wanted, data.quotes)
    load = import_loader(path)
    with tempfile.TemporaryDirectory() as scratch:
        made = load(bring(data.downloads, Path(scratch)))
        if isinstance(made, Path):
            return read_table(made, wanted, data.quotes)
    table = to_arrow(made, path)
    check_columns(table.column_names, wanted, data.source)
    refuse_nested(table.schema, wanted, path)
    types = {field.name: str(field.type) for field in table.schema}
    return Source(plain_types(table.select(list(wanted)), data.source), columns=types)


def is_loader(data: Data) -> bool:
    """Whether `data.source` is a loader, which alone reads downloads."""
    return data.source.endswith(".py")


def import_loader(path: Path) -> Callable[[dict[str, Path]], object]:
    """The function `load` of a loader, a Python file: from files by name, a data frame, an Arrow table or a path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}:{error.lineno}: {error.msg}") from None
    load = getattr(module, "load", None)
    if not callable(load):
        raise InputError(f"{path}: a loader needs a function load(downloads)")
    return cast("Callable[[dict[str, Path]], object]", load)


def bring(downloads: Sequence[Download | Link], scratch: Path) -> dict[str, Path]:
    """The verified file of each download, by the name of its package or its own."""
    files = {}
    for number, one in enumerate(downloads):
        folder = scratch / str(number)
        folder.mkdir()
        files[one.key] = source_distribution(one, folder) if isinstance(one, Download) else download(one, folder)
    return files


def to_arrow(made: object, path: Path) -> pa.Table:
    """An Arrow table of what a loader returned; raise InputError where it is none, or has no rows."""
    table = made if isinstance(made, pa.Table) else from_pandas(made, path)
    if not table.num_rows:
        raise InputError(f"{path}: load() returned no rows")
    check_sizes(table, path)
    return table


def from_pandas(made: object, path: Path) -> pa.Table:
    """An Arrow table of a data frame."""
    import pandas as pd  # 0.4 s that only a loader needs, which has imported it itself

    if not isinstance(made, pd.DataFrame):
        kind = type(made).__name__
        raise InputError(f"{path}: load() returned a {kind}, not a pandas DataFrame, an Arrow table or a Path")
    try:
        return pa.Table.from_pandas(made, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise InputError(f"{path}: load() returned a column of mixed types") from None
