"""Probabilities of classes, (n, k), as classifiers give them, whatever they classify."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bonafide.project.arrays import Floats, Ints
from bonafide.protocol import Facts, Outputs, Targets

Quality = Callable[[Ints, Floats], float]
"""How good probabilities (n, k) are for labels (n,); higher is better."""


def check(outputs: Outputs, labels: Sequence[str]) -> None:
    """Raise ValueError unless outputs (n, k) hold a number of 0 or more for each label."""
    if (
        outputs.ndim != 2
        or outputs.shape[1] != len(labels)
        or not (np.isfinite(outputs).all() and (outputs >= 0).all())
    ):
        raise ValueError("no probabilities")


def class_indices(targets: Targets, labels: Sequence[str]) -> Ints:
    """The place of each label among `labels`, (n,)."""
    places = {label: index for index, label in enumerate(labels)}
    return np.array([places[label] for label in targets], dtype=np.int64)


def comparable(outputs: Outputs, settings: Facts) -> tuple[Outputs, Facts]:
    """Classes by name, and no calibration bins: their edges are each revision's own."""
    labels = settings["labels"]
    order = sorted(range(len(labels)), key=labels.__getitem__)
    check(outputs, labels)
    return outputs[:, order], {"labels": [labels[index] for index in order], "calibration_bins": 0}


def majority(train: Ints, rows: int, classes: int) -> Floats:
    """The class shares of train for each of `rows` rows, (rows, classes)."""
    return np.tile(np.bincount(train, minlength=classes) / len(train), (rows, 1))


def quality_by(score: Any, params: Any) -> Quality:
    """The primary metric of a task's `score` module, whose outputs are probabilities of `params.task.labels`."""
    settings, names = score.settings(params), np.array(params.task.labels, dtype=object)

    def quality(labels: Ints, probabilities: Floats) -> float:
        sums = score.row_sums(names[labels], probabilities, settings)
        return float(score.metrics(sums.sum(axis=0), settings)[score.METRICS[0].name])

    return quality


def answers(outputs: Floats, labels: Sequence[str]) -> dict[str, list[Any]]:
    """What a service says: `label`, and `probabilities` by class."""
    return {
        "label": [labels[best] for best in outputs.argmax(axis=1)],
        "probabilities": [dict(zip(labels, row, strict=True)) for row in outputs.tolist()],
    }


def answer_schema(labels: Sequence[str]) -> Any:
    """The same as mlflow.types.Schema."""
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Object, Property

    probabilities = Object([Property(label, DataType.double) for label in labels])
    return Schema([ColSpec(DataType.string, "label"), ColSpec(probabilities, "probabilities")])
