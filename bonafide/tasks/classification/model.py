"""A text classifier: transformers' own class for the base model's architecture, with a fresh head."""

from pathlib import Path
from typing import Any

from bonafide.datasets.ragged import Tokens
from bonafide.forward import packing
from bonafide.forward.inference import load as load_model
from bonafide.forward.inference import predict_all
from bonafide.pretrained import tokenizer
from bonafide.pretrained.padding import separate
from bonafide.project.arrays import Arrays, Floats

HEAD = "SEQUENCE_CLASSIFICATION"


def load(folder: Path) -> Any:
    """A trained model that takes packed batches if it can, and padded ones if not."""
    model = stock(folder)
    separate(model, probe(folder))
    packing.enable(model)
    return model


def stock(folder: Path) -> Any:
    """A trained model as transformers loads it."""
    from transformers import AutoModelForSequenceClassification

    return load_model(AutoModelForSequenceClassification, folder)


def predict(model: Any, examples: Arrays) -> Floats:
    """Class probabilities of each text, (n, classes) float64."""
    return predict_all(model, Tokens(**examples), probabilities)


def probe(folder: Path) -> list[list[int]]:
    """Texts of different lengths, by the tokenizer in `folder`, to try a model on."""
    return tokenizer.probe(folder)


def probabilities(model: Any, batch: Any) -> Floats:
    """Class probabilities, (n, classes) float64; softmax in float64, so that rows sum to one."""
    logits = model(**batch.inputs).logits
    found: Floats = logits.double().softmax(dim=-1).cpu().numpy()
    return found
