"""`data.source`: a path of the repository that is a table, a folder of tables, or a loader that makes one."""

import importlib.util
import tempfile
from pathlib import Path

import pyarrow as pa

from bonafide.errors import InputError
from bonafide.packages import source_distribution
from bonafide.params import Data, Download
from bonafide.tables import check_sizes, read_table


def read_source(data: Data) -> pa.Table:
    """The user's table as it is. Raises InputError, and NetworkError for a loader's downloads."""
    path = Path(data.source)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"params.yaml: data.source: {data.source!r} is not a path inside the repository")
    if not path.exists():
        from bonafide.runs import left_behind  # MLflow's import, which a table needs not

        raise InputError(f"{path}: no such file or folder (params.yaml: data.source){left_behind(data.source)}")
    return load(path, data.downloads) if is_loader(data) else read_table(path)


def is_loader(data: Data) -> bool:
    """Whether `data.source` is a loader, which alone reads downloads."""
    return data.source.endswith(".py")


def load(path: Path, downloads: list[Download]) -> pa.Table:
    """The table of a loader, a Python file with `load(downloads: dict[str, Path])`: a package's name: its archive."""
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
        archives = {}
        for download in downloads:
            folder = Path(scratch) / download.package
            folder.mkdir()
            archives[download.package.partition("==")[0]] = source_distribution(download, folder)
        table = to_arrow(module.load(archives), path)
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
