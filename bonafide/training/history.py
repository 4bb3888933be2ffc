"""The curves of a training: a row per ten steps and one per epoch. They survive an interruption."""

from typing import Any, SupportsFloat

from bonafide.engine.hyperparameters import Step
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
        self.window: list[SupportsFloat] = []

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
