"""The four systems that are compared: the model, its shell, TF-IDF and the majority class."""

from collections.abc import Mapping, Sequence

from transformers import AutoModel

from bonafide.datasets.ragged import Tokens
from bonafide.forward.inference import load, predict_all
from bonafide.pretrained import heads
from bonafide.project.arrays import Floats, Ints
from bonafide.project.paths import BASE_MODEL, MODEL
from bonafide.tasks.classification import baselines, score
from bonafide.tasks.classification import model as own

BySplit = dict[str, Floats]


def predict(tokens: Mapping[str, Tokens], texts: Mapping[str, Sequence[str]], classes: int) -> dict[str, BySplit]:
    """Class probabilities (n, classes) of each system on each split but train, from all splits' tokens and texts."""
    labels = {split: found.labels for split, found in tokens.items()}
    evaluated = {split: found for split, found in tokens.items() if split != "train"}

    def quality(labels: Ints, probabilities: Floats) -> float:
        metric, direction = score.PRIMARY_METRIC
        return score.score(labels, probabilities)[metric] * (1 if direction == "max" else -1)

    model = own.load(MODEL)
    ours = {split: own.predict(model, found)["probabilities"] for split, found in evaluated.items()}
    base = load(AutoModel, BASE_MODEL, config=heads.read_config(BASE_MODEL, own.HEAD))
    if base.config.is_encoder_decoder:
        base = base.get_encoder()
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
