"""What MLflow serves: a column of raw texts to labels and probabilities."""

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
from bonafide.registry.serving.dynamic_batching import Together
from bonafide.registry.serving.predictor import DRIFT, drift, load, refuse


class Service(PythonModel):
    """A model of `bonafide.registry.mlflow_package`."""

    def load_context(self, context: Any) -> None:
        """Load the model; raise InputError unless it answers as it did when it was packaged.

        Code, libraries and machine may have changed since, and numbers say whether that matters.
        """
        csv_requests.install()
        hand = ThreadPoolExecutor(1, "model")
        self.reader = hand.submit(load, Path(context.artifacts["model"]), context.model_config).result()
        probe = read_json(Path(context.artifacts["probe"]))
        moved = hand.submit(drift, self.reader, probe["texts"], probe["probabilities"]).result()
        if moved > DRIFT:
            raise InputError(f"the model's probabilities are not those of its promotion: they differ by {moved:.2g}")
        say(f"serve: probabilities are those of the promotion within {moved:.1g}")
        self.together = Together(self.reader.predict, hand)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """`label` and `probabilities` (by class) of each row's `text`; a bad row raises what the server says as 400."""
        texts = model_input["text"].tolist()
        try:
            refuse(texts, self.reader.config["min_characters"], self.reader.config["max_characters"])
        except InputError as error:
            raise MlflowException(str(error), BAD_REQUEST) from None
        probabilities = self.together(texts)
        labels = self.reader.labels
        return pd.DataFrame(
            {
                "label": [labels[best] for best in probabilities.argmax(axis=1)],
                "probabilities": [dict(zip(labels, row, strict=True)) for row in probabilities.tolist()],
            }
        )
