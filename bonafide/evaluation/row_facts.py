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
READ_ROWS = 1024


def table(ids: Sequence[str], hashes: Sequence[str], slices: Sequence[Slice]) -> pa.Table:
    """The facts of a split's rows."""
    columns: dict[str, list[str | None]] = {"id": [*ids], "inputs": [*hashes]}
    for piece in slices:
        column = columns.setdefault(f"{SLICE}{piece.column}", [None] * len(ids))
        for row in piece.rows.tolist():
            column[row] = piece.value
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def fingerprints(path: Path, inputs: Sequence[str]) -> list[str]:
    """A hash of each row's inputs in a table, which is read in parts: images may be larger than memory."""
    parts = pq.ParquetFile(path).iter_batches(batch_size=READ_ROWS, columns=list(inputs))
    return [
        fingerprint(row) for part in parts for row in zip(*(part[name].to_pylist() for name in inputs), strict=True)
    ]


def fingerprint(values: Sequence[object]) -> str:
    """A hash of a row's inputs, 32 hexadecimal digits."""
    return hashlib.blake2b(json.dumps(values, ensure_ascii=False, default=_spell).encode(), digest_size=16).hexdigest()


def _spell(value: object) -> str:
    """What JSON has not: bytes by their own hash, all else in its own words."""
    return hashlib.blake2b(value).hexdigest() if isinstance(value, bytes) else str(value)


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
