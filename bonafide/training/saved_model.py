"""What was validated is what was saved: a few validation examples give the same outputs with both."""

import numpy as np
import torch

from bonafide.forward.inference import predict_all
from bonafide.forward.network import Examples, Network
from bonafide.project.errors import InputError
from bonafide.project.paths import MODEL, TOKENIZED

EXAMPLES = 16
# Of a probability, or of nats as a share of them. In fp32 packed and padded batches differ by 1e-6. On a GPU both are
# computed in bf16, which rounds to 0.4 % again and again: `packing` allows logits a tenth there, which is a fortieth of
# a probability.
TOLERANCE, LOW_TOLERANCE = 1e-3, 0.025


class SavedModelCheck:
    """Examples of the validation split and what the model in training says of them."""

    def __init__(self, model: object, validation: Examples, task: Network) -> None:
        """Predict as validation does: `validation` is as the model in training reads it."""
        order = np.argsort(validation.lengths, kind="stable")
        self.rows = order[np.unique(np.linspace(0, len(order) - 1, EXAMPLES).astype(int))]
        self.task, self.expected = task, predict_all(model, validation.take(self.rows), task.outputs, task.collate)

    def check(self) -> None:
        """Raise InputError unless the saved model, loaded as transformers does, gives the same outputs."""
        examples = self.task.examples(TOKENIZED / "validation").take(self.rows)
        model = self.task.stock(MODEL)
        one_by_one = (examples.take([row]) for row in range(len(examples)))
        found = np.concatenate([predict_all(model, one, self.task.outputs, self.task.collate) for one in one_by_one])
        apart = np.nan_to_num(np.abs(found - self.expected) / np.maximum(1, np.abs(self.expected)), nan=np.inf)
        worst, column = np.unravel_index(np.argmax(apart), apart.shape)
        if not apart[worst, column] <= (LOW_TOLERANCE if torch.cuda.is_available() else TOLERANCE):
            trained, saved = (f"{rows[worst, column]:.4f}" for rows in (self.expected, found))
            raise InputError(
                f"models/model: row {examples.ids[worst]}: the saved model gives {saved} where the model in training"
                f" gave {trained}: {model.config.model_type} is not trained as transformers would load it"
            )
