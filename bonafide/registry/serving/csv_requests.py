"""Requests of text/csv, read as they are written: MLflow's server reads them with pandas, which takes NA for nothing.

So a person who writes "None", "null" or "NA" would get an error, and a row of two fields would lose one in silence.
"""

import csv
import io
import sys
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from bonafide.registry.serving.predictor import REQUEST

SERVER = "mlflow.pyfunc.scoring_server"


def install() -> None:
    """Let MLflow's server, if this process is one, read CSV with `read`: it has no setting for it."""
    server = sys.modules.get(SERVER)
    if server:
        server.parse_csv_input = read  # type: ignore[attr-defined]


def read(csv_input: io.StringIO, schema: Any = None) -> pd.DataFrame:  # noqa: ARG001 - MLflow's signature
    """A column of strings for each of the header's names; raise what the server answers as 400."""
    csv.field_size_limit(max(csv.field_size_limit(), REQUEST))
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
    return pd.DataFrame(rows, columns=header, dtype=object)
