"""What every system says of every evaluated row: the contract from which each statistic can be recomputed.

predictions.parquet has a row per row and the columns `id`, `split`, `group` (strings), the task's target (a string or a
float64) and, for each system, its outputs: a float64, a string, a fixed-size list of float64, or a struct of float64
and strings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bonafide.project.files import write_bytes
from bonafide.protocol import Outputs, Targets

ROW_GROUP = 100_000
KEYS = ("id", "split", "group")


@dataclass(frozen=True)
class Predictions:
    """One split."""

    ids: list[str]
    """(n,) row ids."""
    groups: list[str]
    """(n,) what rows share that are not independent."""
    targets: Targets
    """(n,) the truth."""
    systems: dict[str, Outputs]
    """Outputs of each system, (n,), structured or not, or (n, m)."""


def write(path: Path, target: str, splits: Mapping[str, Predictions]) -> None:
    """Write the splits one after another as Parquet whose bytes depend on the rows only; `target` names the truth."""
    table = pa.concat_tables(_table(name, target, split) for name, split in splits.items()).combine_chunks()
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROW_GROUP)
    write_bytes(path, sink.getvalue())


def _table(name: str, target: str, split: Predictions) -> pa.Table:
    columns = {
        "id": pa.array(split.ids, pa.string()),
        "split": pa.array([name] * len(split.ids), pa.string()),
        "group": pa.array(split.groups, pa.string()),
        target: pa.array(split.targets),
    }
    return pa.table(columns | {system: _to_arrow(outputs) for system, outputs in split.systems.items()})


def _to_arrow(outputs: Outputs) -> pa.Array:
    if outputs.dtype.names:
        fields = [outputs[name] for name in outputs.dtype.names]
        typed = [pa.array(field, pa.string() if field.dtype == object else pa.float64()) for field in fields]
        return pa.StructArray.from_arrays(typed, outputs.dtype.names)
    if outputs.ndim == 1:
        return pa.array(outputs)
    return pa.FixedSizeListArray.from_arrays(pa.array(outputs.ravel()), outputs.shape[1])


def read(source: Path | BinaryIO, target: str) -> dict[str, Predictions]:
    """Read what `write` wrote, splits in their order; raise KeyError where a column is missing."""
    table = pq.read_table(source)
    names = np.array(table["split"].to_pylist(), dtype=np.str_)
    return {name: _split(table.filter(names == name), target) for name in dict.fromkeys(names.tolist())}


def _split(table: pa.Table, target: str) -> Predictions:
    systems = {name: to_numpy(table[name]) for name in table.column_names if name not in (*KEYS, target)}
    return Predictions(table["id"].to_pylist(), table["group"].to_pylist(), to_numpy(table[target]), systems)


def to_numpy(column: pa.ChunkedArray) -> Outputs:
    """Numbers (n,), lists of one length (n, m), a struct's fields (n,), or anything else as objects (n,)."""
    array = column.combine_chunks()
    if pa.types.is_struct(array.type):
        fields = {
            array.type.field(i).name: to_numpy(pa.chunked_array([part])) for i, part in enumerate(array.flatten())
        }
        rows = np.empty(len(array), dtype=[(name, field.dtype) for name, field in fields.items()])
        for name, field in fields.items():
            rows[name] = field
        return rows
    if pa.types.is_fixed_size_list(array.type):
        found: Outputs = array.flatten().to_numpy().reshape(-1, array.type.list_size)
        return found
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        return np.asarray(array)
    return np.array(array.to_pylist(), dtype=object)
