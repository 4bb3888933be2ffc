"""What was validated is what was saved: a few validation texts give the same probabilities to both."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bonafide.datasets import ragged
from bonafide.datasets.ragged import Tokens
from bonafide.forward.inference import predict_all
from bonafide.project.arrays import Ints
from bonafide.project.errors import InputError
from bonafide.project.paths import MODEL, TOKENIZED

TEXTS = 16
# Of a probability. In fp32 packed and padded batches differ by 1e-6. On a GPU both are computed in bf16, which rounds
# to 0.4 % again and again: `packing` allows logits a tenth there, which is a fortieth of a probability.
TOLERANCE, LOW_TOLERANCE = 1e-3, 0.025


class SavedModelCheck:
    """Texts of the validation split and the probabilities that the model in training gives them."""

    def __init__(self, model: Any, validation: Tokens, task: Any) -> None:
        """Predict as validation does: `validation` is as the model in training reads it."""
        order = np.argsort(validation.lengths, kind="stable")
        self.rows = order[np.unique(np.linspace(0, len(order) - 1, TEXTS).astype(int))]
        self.task, self.expected = task, predict_all(model, select(validation, self.rows), task.probabilities)

    def check(self) -> None:
        """Raise InputError unless the saved model, loaded as transformers does, gives the same probabilities."""
        tokens = select(ragged.read_tokens(TOKENIZED / "validation"), self.rows)
        model = self.task.stock(MODEL)
        one_by_one = (select(tokens, [row]) for row in range(len(tokens)))
        found = np.concatenate([predict_all(model, text, self.task.probabilities) for text in one_by_one])
        apart = np.abs(found - self.expected).max(axis=1)
        worst = int(np.argmax(np.nan_to_num(apart, nan=np.inf)))
        if not apart[worst] <= (LOW_TOLERANCE if torch.cuda.is_available() else TOLERANCE):
            trained, saved = (f"{rows[worst].max():.4f}" for rows in (self.expected, found))
            raise InputError(
                f"models/model: row {tokens.ids[worst]}: the saved model gives {saved} where the model in training gave"
                f" {trained}: {model.config.model_type} is not trained as transformers would load it"
            )


def select(tokens: Tokens, rows: Sequence[int] | Ints) -> Tokens:
    """Texts `rows` alone, in that order."""
    return ragged.pack(tokens.some(rows), tokens.labels[list(rows)], tokens.ids[list(rows)].tolist())
