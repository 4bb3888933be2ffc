"""What is known of each evaluated row but its predictions: by which slices and inputs two revisions are compared.

rows.parquet has the columns `id`, `split`, `inputs` (a hash of what a system reads of the row) and, for each sliced
column, `slice/<column>`: the row's value. No word of the inputs is in it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bonafide.evaluation.slices import Slice
from bonafide.project.files import write_bytes

SLICE = "slice/"


def table(rows: pa.Table, inputs: Sequence[str], slices: Sequence[Slice]) -> pa.Table:
    """The facts of a split's validated rows."""
    values = zip(*(rows[name].to_pylist() for name in inputs), strict=True)
    columns: dict[str, list[str | None]] = {
        "id": rows["id"].to_pylist(),
        "inputs": [fingerprint(row) for row in values],
    }
    for piece in slices:
        column = columns.setdefault(f"{SLICE}{piece.column}", [None] * len(rows))
        for row in piece.rows.tolist():
            column[row] = piece.value
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def fingerprint(values: Sequence[object]) -> str:
    """A hash of a row's inputs, 32 hexadecimal digits."""
    return hashlib.blake2b(json.dumps(values, ensure_ascii=False, default=str).encode(), digest_size=16).hexdigest()


def write(path: Path, splits: Mapping[str, pa.Table]) -> None:
    """Write the splits one after another; the bytes depend on the rows only."""
    named = (facts.add_column(1, "split", pa.array([name] * len(facts))) for name, facts in splits.items())
    sink = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(named).combine_chunks(), sink)
    write_bytes(path, sink.getvalue())


def read(source: Path | BinaryIO, split: str) -> pa.Table:
    """The facts of one split."""
    facts = pq.read_table(source)
    return facts.filter([name == split for name in facts["split"].to_pylist()])


def slices(facts: pa.Table, order: Sequence[tuple[str, str]]) -> list[Slice]:
    """The slices of a split, in the `order` of their columns and values; raise KeyError where it has no such column."""
    values = {
        name.removeprefix(SLICE): np.array(facts[name].to_pylist(), dtype=object)
        for name in facts.column_names
        if name.startswith(SLICE)
    }
    return [Slice(column, value, np.flatnonzero(values[column] == value)) for column, value in order]
