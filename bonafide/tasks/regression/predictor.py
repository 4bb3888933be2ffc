"""A trained model on rows as they come: `predictor.load("models/model").predict({"sqft_living": [1180], ...})`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonafide.project.arrays import Floats
from bonafide.tasks.regression import encode, model


@dataclass(frozen=True)
class Predictor:
    """A model and the processor in its config."""

    model: model.Linear
    processor: encode.Processor

    def predict(self, rows: Any) -> Floats:
        """Values (n,) in the target's unit of rows with columns by name: a dict of lists, an Arrow table, a data frame.

        Raises InputError for a missing column and for what is no finite number.
        """
        return model.predict(self.model, {"features": encode.design_matrix(rows, self.processor)})["value"]


def load(folder: str | Path) -> Predictor:
    """The predictor of a model's folder, safetensors and config.json."""
    found = model.load(Path(folder))
    return Predictor(found, encode.from_json(found.processor))
