"""Every system's probabilities on every evaluated row: the contract from which each statistic can be recomputed.

predictions.parquet has a row per text and the columns `id`, `split`, `group`, `label` (strings) and, for each system,
its class probabilities as a fixed-size list of float64 in the order of data/tokenized/labels.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bonafide.project.arrays import Floats, Ints
from bonafide.project.files import write_bytes

ROW_GROUP = 100_000
KEYS = ("id", "split", "group", "label")


@dataclass(frozen=True)
class Predictions:
    """One split."""

    ids: list[str]
    """(n,) row ids."""
    groups: list[str]
    """(n,) what rows share that are not independent."""
    labels: Ints
    """(n,) class indices."""
    systems: dict[str, Floats]
    """Class probabilities of each system, (n, classes) float64."""


def write(path: Path, labels: Sequence[str], splits: Mapping[str, Predictions]) -> None:
    """Write the splits one after another as Parquet whose bytes depend on the rows only."""
    table = pa.concat_tables(_table(name, labels, split) for name, split in splits.items()).combine_chunks()
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROW_GROUP)
    write_bytes(path, sink.getvalue())


def _table(name: str, labels: Sequence[str], split: Predictions) -> pa.Table:
    columns = {
        "id": pa.array(split.ids, pa.string()),
        "split": pa.array([name] * len(split.ids), pa.string()),
        "group": pa.array(split.groups, pa.string()),
        "label": pa.array([labels[index] for index in split.labels], pa.string()),
    }
    systems = {
        system: pa.FixedSizeListArray.from_arrays(pa.array(probabilities.ravel()), len(labels))
        for system, probabilities in split.systems.items()
    }
    return pa.table(columns | systems)


def read(source: Path | BinaryIO, labels: Sequence[str]) -> dict[str, Predictions]:
    """Read what `write` wrote, splits in their order."""
    table = pq.read_table(source)
    names = np.array(table["split"].to_pylist(), dtype=np.str_)
    return {name: _split(table.filter(names == name), labels) for name in dict.fromkeys(names.tolist())}


def _split(table: pa.Table, labels: Sequence[str]) -> Predictions:
    index = {label: position for position, label in enumerate(labels)}
    systems = {
        name: table[name].combine_chunks().flatten().to_numpy().reshape(-1, len(labels))
        for name in table.column_names
        if name not in KEYS
    }
    targets: Ints = np.array([index[label] for label in table["label"].to_pylist()], dtype=np.int64)
    return Predictions(table["id"].to_pylist(), table["group"].to_pylist(), targets, systems)
