"""A table by URL: of params.yaml's `data.downloads`, which names one CSV, TSV, JSONL or Parquet file.

Rows and columns are as in the file. Another shape, an archive or several files want a loader of their own: a copy of
this file is its beginning.
"""

from pathlib import Path

import pyarrow as pa

from bonafide.errors import InputError
from bonafide.tables import read_table


def load(downloads: dict[str, Path]) -> pa.Table:
    """The table in the one file of `downloads`, by its name's ending; raise InputError where there is not one."""
    if len(downloads) != 1:
        raise InputError(f"data/download.py: reads one download, and params.yaml: data.downloads has {len(downloads)}")
    return read_table(next(iter(downloads.values())))
