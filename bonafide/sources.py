"""`data.source`: a path of the repository that is a table, a folder of tables, or a loader that makes one."""

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path

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
    table = load(path, data.downloads)
    check_columns(table.column_names, wanted, data.source)
    refuse_nested(table.schema, wanted, path)
    types = {field.name: str(field.type) for field in table.schema}
    return Source(plain_types(table.select(list(wanted)), data.source), columns=types)


def is_loader(data: Data) -> bool:
    """Whether `data.source` is a loader, which alone reads downloads."""
    return data.source.endswith(".py")


def load(path: Path, downloads: Sequence[Download | Link]) -> pa.Table:
    """The table of a loader, a Python file with `load(downloads: dict[str, Path])`: name of a package or file: path."""
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
    with tempfile.TemporaryDirectory() as scratch:
        files = {}
        for number, wanted in enumerate(downloads):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            files[wanted.key] = (
                source_distribution(wanted, folder) if isinstance(wanted, Download) else download(wanted, folder)
            )
        table = to_arrow(module.load(files), path)
    if not table.num_rows:
        raise InputError(f"{path}: load() returned no rows")
    check_sizes(table, path)
    return table


def to_arrow(table: object, path: Path) -> pa.Table:
    """An Arrow table of what a loader returned."""
    if isinstance(table, pa.Table):
        return table
    import pandas as pd  # 0.4 s that only a loader needs, which has imported it itself

    if not isinstance(table, pd.DataFrame):
        raise InputError(f"{path}: load() returned a {type(table).__name__}, not a pandas DataFrame or an Arrow table")
    try:
        return pa.Table.from_pandas(table, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        raise InputError(f"{path}: load() returned a column of mixed types") from None
