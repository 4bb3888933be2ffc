"""The best epoch so far, with a copy of its weights."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from bonafide.engine.optimizer import State
from bonafide.project.arrays import Metrics


class BestEpoch:
    """The best epoch so far: by one metric, and of equal ones the earlier."""

    def __init__(self, metric: str, *, higher_is_better: bool) -> None:
        """Nothing has been offered yet."""
        self.metric, self.sign = metric, 1 if higher_is_better else -1
        self.epoch = 0
        self.metrics: Metrics = {}
        self.weights: State = {}
        self.is_saved = False

    def offer(
        self, epoch: int, metrics: Metrics, trained: Mapping[str, torch.Tensor], decide: Callable[[int], int] = int
    ) -> None:
        """Keep a copy of the weights if this epoch is better; processes with a part each `decide` as one."""
        if decide(not self.metrics or self.sign * (metrics[self.metric] - self.metrics[self.metric]) > 0):
            self.epoch, self.metrics, self.is_saved = epoch, metrics, False
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in trained.items()}

    def is_old(self, epoch: int, patience: int) -> bool:
        """Whether `patience` epochs have passed without a better one."""
        return self.epoch > 0 and epoch - self.epoch >= patience

    def progress(self) -> dict[str, Any]:
        """Everything but the weights, as JSON has it."""
        return {"epoch": self.epoch, "metrics": self.metrics}

    def load(self, progress: dict[str, Any], weights: State) -> None:
        """Go on from what `progress` gave, and the weights saved with it."""
        self.epoch, self.metrics, self.weights, self.is_saved = progress["epoch"], progress["metrics"], weights, True
