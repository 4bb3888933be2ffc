"""Requests of text/csv, read as they are written: MLflow's server reads them with pandas, which takes NA for nothing.

So a person who writes "None", "null" or "NA" would get an error, and a row of two fields would lose one in silence.
"""

import csv
import io
import math
import sys
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.types import DataType

FIELD = 1_000_000  # characters that a field may have; what a row may have is the task's to say
SERVER = "mlflow.pyfunc.scoring_server"


def install() -> None:
    """Let MLflow's server, if this process is one, read CSV with `read`: it has no setting for it."""
    server = sys.modules.get(SERVER)
    if server:
        server.parse_csv_input = read  # type: ignore[attr-defined]


def read(csv_input: io.StringIO, schema: Any = None) -> pd.DataFrame:
    """A column for each of the header's names, of numbers where the model's `schema` has them, else of strings.

    Raise what the server answers as 400. A number that is not there is NaN.
    """
    csv.field_size_limit(max(csv.field_size_limit(), FIELD))
    text = csv_input.read().removeprefix("\ufeff")
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row] or [[]]
    except csv.Error as error:
        raise MlflowException(f"not CSV: {error}", BAD_REQUEST) from None
    if len(set(header)) < len(header) or not header:
        raise MlflowException("a CSV begins with the names of its columns, each of them once", BAD_REQUEST)
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise MlflowException(f"row {number}: has {len(row)} fields, the header {len(header)}", BAD_REQUEST)
    frame = pd.DataFrame(rows, columns=header, dtype=object)
    for name, kind in zip(schema.input_names(), schema.input_types(), strict=True) if schema else ():
        if kind == DataType.double and name in frame:
            frame[name] = [to_number(name, row, field) for row, field in enumerate(frame[name])]
    return frame


def to_number(name: str, row: int, field: str) -> float:
    """A field as a number; raise what the server answers as 400."""
    try:
        return float(field) if field.strip() else math.nan
    except ValueError:
        raise MlflowException(f"row {row}: {name!r} is {field[:60]!r}, and no number", BAD_REQUEST) from None
