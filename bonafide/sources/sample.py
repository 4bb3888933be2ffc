"""A sample of a table for a trial: whole groups, drawn by hash, so that a larger share keeps every row of a smaller."""

import pyarrow as pa
import pyarrow.compute as pc

from bonafide.project.errors import InputError
from bonafide.project.randomness import hashed_uniform

KEY = 2**32  # above every seed of params.yaml, so that the sample and the splits are independent


def sample(table: pa.Table, share: float) -> pa.Table:
    """The rows of `share` of the groups; a row without a group is its own. Raises InputError if none is left."""
    if share == 1:
        return table
    groups = pc.coalesce(table["group"], table["id"]) if "group" in table.column_names else table["id"]
    encoded = groups.combine_chunks().dictionary_encode()
    kept = pa.array(hashed_uniform(encoded.dictionary.to_pylist(), KEY) < share)
    rows = table.filter(pc.take(kept, encoded.indices))
    if not rows.num_rows:
        raise InputError(f"params.yaml: data.sample: {share} of the table's groups is none")
    return rows
