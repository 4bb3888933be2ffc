"""What MLflow serves: rows as they come to the answers of the task's `serve` role."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc.model import PythonModel

from bonafide.project.console import say
from bonafide.project.errors import InputError
from bonafide.project.files import read_json
from bonafide.registry.serving import csv_requests
from bonafide.registry.serving.dynamic_batching import Batcher
from bonafide.registry.serving.predictor import DRIFT, load


class PackagedModel(PythonModel):
    """A model of `bonafide.registry.mlflow_package`."""

    def load_context(self, context: Any) -> None:
        """Load the model; raise InputError unless it answers as it did when it was packaged.

        Code, libraries and machine may have changed since, and numbers say whether that matters.
        """
        csv_requests.install()
        thread = ThreadPoolExecutor(1, "model")
        self.predictor = thread.submit(load, Path(context.artifacts["model"]), context.model_config).result()
        probe = read_json(Path(context.artifacts["probe"]))
        moved = thread.submit(self.predictor.drift, probe["rows"], probe["outputs"]).result()
        if moved > DRIFT:
            raise InputError(f"the model's outputs are not those of its promotion: they differ by {moved:.2g}")
        say(f"serve: outputs are those of the promotion within {moved:.1g}")
        self.batcher = Batcher(self.predictor.predict, thread)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """The answer to each row; a bad row raises what the server says as 400."""
        rows = model_input.to_dict("records")
        try:
            self.predictor.refuse(rows)
        except InputError as error:
            raise MlflowException(str(error), BAD_REQUEST) from None
        return pd.DataFrame(self.predictor.answers(self.batcher(rows)))
