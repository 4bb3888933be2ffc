"""Nothing weighs anything."""

import numpy as np
from bonafide.tasks.toy.model import OUTPUTS

from bonafide.protocol import System

BASELINES = (
    System("scales", "the scales", "weighing things, for whom has any"),
    System("nothing", "nothing", "saying that nothing weighs anything"),
)


def predict(splits, params):
    """Zeros without a word; there are no scales."""
    return {
        "nothing": {
            name: np.array([(None, 0.0)] * len(split.table), dtype=OUTPUTS)
            for name, split in splits.items()
            if name != "train"
        }
    }
