"""A table by URL: of params.yaml's `data.downloads`, which names one CSV, TSV, JSON or Parquet file, packed or not.

Rows and columns are as in the file; for a task with images it may be one of CIFAR's archives. Another shape, another
archive or several files want a loader of their own: a copy of this file is its beginning.
"""

from pathlib import Path

from bonafide.project.errors import InputError


def load(downloads: dict[str, Path]) -> Path:
    """The one file of `downloads`, which is read by its name's ending; raise InputError where there is not one."""
    if len(downloads) != 1:
        raise InputError(f"data/download.py: reads one download, and params.yaml: data.downloads has {len(downloads)}")
    return next(iter(downloads.values()))
