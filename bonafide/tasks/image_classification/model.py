"""An image classifier: one of our own networks, or transformers' own class for an architecture."""

from pathlib import Path
from typing import Any

from bonafide.forward.inference import load as load_model
from bonafide.forward.inference import predict_all
from bonafide.project.arrays import Arrays, Floats
from bonafide.vision import registered  # noqa: F401 - makes transformers know our networks
from bonafide.vision.pixels import collate, mirrored_probabilities, probabilities, split_of

HEAD = "IMAGE_CLASSIFICATION"


def load(folder: Path) -> Any:
    """A trained model."""
    return stock(folder)


def stock(folder: Path) -> Any:
    """A trained model as transformers loads it."""
    from transformers import AutoModelForImageClassification

    return load_model(AutoModelForImageClassification, folder)


def predict(model: Any, examples: Arrays) -> Floats:
    """Class probabilities of each image, (n, classes) float64; the mean over its mirror image too where so trained."""
    view = mirrored_probabilities if model.config.mirror else probabilities
    return predict_all(model, split_of(examples), view, collate)
