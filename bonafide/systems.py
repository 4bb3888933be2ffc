"""The four systems that are compared: the model, its shell, TF-IDF and the majority class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from bonafide import baselines, packing
from bonafide.inference import predict_all
from bonafide.paths import BASE_MODEL, MODEL
from bonafide.ragged import Tokens
from tasks import Floats, Ints, Task

BySplit = dict[str, Floats]


def predict(
    task: Task, tokens: Mapping[str, Tokens], texts: Mapping[str, Sequence[str]], classes: int
) -> dict[str, BySplit]:
    """Class probabilities (n, classes) of each system on each split but train, from all splits' tokens and texts."""
    labels = {split: found.labels for split, found in tokens.items()}
    evaluated = {split: found for split, found in tokens.items() if split != "train"}

    def quality(labels: Ints, probabilities: Floats) -> float:
        metric, direction = task.PRIMARY_METRIC
        return task.score(labels, probabilities)[metric] * (1 if direction == "max" else -1)

    model = load(AutoModelForSequenceClassification, MODEL)
    packing.enable(model)
    ours = {split: predict_all(model, found, task.predict) for split, found in evaluated.items()}
    base = load(AutoModel, BASE_MODEL)
    views = {split: predict_all(base, found, baselines.embed) for split, found in tokens.items()}
    terms = baselines.tfidf_features(texts)
    return {
        "model": ours,
        "shell": baselines.logistic_regression(
            baselines.standardise(views), labels, classes, baselines.SHELL_STRENGTHS, quality
        ),
        "tfidf": baselines.logistic_regression(terms, labels, classes, baselines.TFIDF_STRENGTHS, quality),
        "majority": {
            split: baselines.majority(labels["train"], len(found), classes) for split, found in evaluated.items()
        },
    }


def load(kind: Any, folder: Path) -> Any:
    """A model in fp32, on the GPU where there is one."""
    model = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype="float32")
    return model.to("cuda" if torch.cuda.is_available() else "cpu")
