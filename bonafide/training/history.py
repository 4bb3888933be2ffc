"""What training leaves on paper: the curves, and the best epoch with its weights. Both survive an interruption."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from bonafide.engine.optimizer import State
from bonafide.engine.recipe import Step
from bonafide.project.arrays import Metrics
from bonafide.project.files import write_csv
from bonafide.project.paths import HISTORY
from bonafide.tracking.stage_run import log_metrics

LOG_STEPS = 10  # a curve point is the mean of so many steps


class History:
    """The curves: a row per `LOG_STEPS` steps and one per epoch."""

    def __init__(self) -> None:
        """Start with no rows."""
        self.rows: list[dict[str, float]] = []
        self.window: list[torch.Tensor | float] = []

    def add(self, step: Step) -> Metrics:
        """Count a step; at a curve point also return it."""
        self.window.append(step.loss)
        if step.step % LOG_STEPS and not step.ends_epoch:
            return {}
        losses = self._losses()
        curve = {"train_loss": sum(losses) / len(losses), "learning_rate": step.learning_rate}
        self.window.clear()
        self.rows.append({"step": step.step, "epoch": step.epoch} | curve)
        return curve

    def _losses(self) -> list[float]:
        """The window as numbers: on a GPU the only place where the host waits for it."""
        return [float(loss) for loss in self.window]

    def add_validation(self, step: int, metrics: Metrics) -> None:
        """Put an epoch's validation metrics beside its last step."""
        columns = {f"validation_{name}": value for name, value in metrics.items()}
        self.rows[-1] |= columns
        log_metrics({f"train/{name}": value for name, value in columns.items()}, step)

    def write(self) -> None:
        """Write history.csv; validation columns are empty but at the ends of epochs."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        write_csv(HISTORY, columns, [[row.get(column) for column in columns] for row in self.rows])

    def progress(self) -> dict[str, Any]:
        """Everything so far, as JSON has it."""
        return {"rows": self.rows, "window": self._losses()}

    def load(self, progress: dict[str, Any]) -> None:
        """Go on from what `progress` gave."""
        self.rows, self.window = progress["rows"], progress["window"]


class Best:
    """The best epoch so far: of the highest metric, and of equal ones the earlier."""

    def __init__(self, metric: str) -> None:
        """Nothing has been offered yet."""
        self.metric = metric
        self.epoch = 0
        self.metrics: Metrics = {}
        self.weights: State = {}
        self.is_saved = False

    def offer(
        self, epoch: int, metrics: Metrics, trained: Mapping[str, torch.Tensor], agree: Callable[[int], int] = int
    ) -> None:
        """Keep a copy of the weights if this epoch is better; of processes with a part each, one decides by `agree`."""
        if agree(not self.metrics or metrics[self.metric] > self.metrics[self.metric]):
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
