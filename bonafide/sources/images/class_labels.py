"""Labels as Hugging Face's datasets keep them in Parquet: numbers, whose names are in the schema's metadata."""

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

KEY = b"huggingface"


def class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """The names of a column's classes, in the order of its numbers; None where it is no ClassLabel of integers."""
    try:
        feature = json.loads((schema.metadata or {})[KEY])["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if named and pa.types.is_integer(schema.field(column).type) else None


def spell(column: pa.ChunkedArray, names: Sequence[str]) -> pa.ChunkedArray:
    """The names of a column of class numbers; null for a number without one, as -1 of unlabelled rows."""
    known = pc.and_(pc.greater_equal(column, 0), pc.less(column, len(names)))
    return pc.take(pa.array(names, pa.string()), pc.if_else(known, column, None))
