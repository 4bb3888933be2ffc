"""Train: fit the task's model on the tokenized train split and keep the best epoch.

in   data/tokenized/   train and validation arrays, processor and labels, from tokenize
     models/base/      from fetch
out  models/model/     weights, config and tokenizer; loads with transformers' from_pretrained
     reports/train/    history.csv: loss and learning rate along the way, validation metrics per epoch
     reports/train.json
"""

import json
import shutil
from typing import TYPE_CHECKING, Any

import torch

from bonafide import ragged, tracking
from bonafide.files import write_csv
from bonafide.inference import predict_all
from bonafide.params import Params
from bonafide.paths import BASE_MODEL, HISTORY, MODEL, TOKENIZED
from bonafide.progress import Progress
from bonafide.stage import run_stage
from bonafide.training import Step, fit
from tasks import Metrics, load_task

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_STEPS = 10  # a curve point is the mean of so many steps


def train(params: Params) -> Metrics:
    """Train with early stopping; return the best epoch's validation metrics."""
    task = load_task(params.task)
    labels = json.loads((TOKENIZED / "labels.json").read_text(encoding="utf-8"))
    collate = task.collate(task.load_processor(TOKENIZED / "processor"))
    tokens, validation = ragged.read(TOKENIZED / "train"), ragged.read(TOKENIZED / "validation")
    torch.manual_seed(params.seed)  # the head's first weights
    model = task.build_model(BASE_MODEL, labels, params.train.dropout)
    model.to("cuda" if torch.cuda.is_available() else "cpu")

    def validate() -> Metrics:
        return task.score(validation.labels, predict_all(model, validation, collate, task.predict))

    history = History()
    best = Best(*task.PRIMARY_METRIC)
    for step in fit(model, tokens, collate, params.train, params.seed):
        history.add(step)
        if step.ends_epoch:
            metrics = history.add_validation(step, validate())
            best.offer(step, metrics, model)
            if step.epoch - best.epoch >= params.train.patience:
                break
    history.write()
    save(model, best)
    return {"train/steps": step.step, "train/best_epoch": best.epoch} | {
        f"train/best/{name}": value for name, value in best.metrics.items()
    }


class History:
    """The curves: a row per `LOG_STEPS` steps and one per epoch."""

    def __init__(self) -> None:
        """Start with no rows."""
        self.rows: list[dict[str, float]] = []
        self.window: list[float] = []
        self.progress: Progress | None = None

    def add(self, step: Step) -> None:
        """Count a step; keep, send and show it when it is time to."""
        self.progress = self.progress or Progress(step.steps)
        self.window.append(step.loss)
        self.progress.update(step.step, step.tokens, f"loss {step.loss:.3f}  lr {step.learning_rate:.1e}")
        if step.step % LOG_STEPS and not step.ends_epoch:
            return
        curve = {"train_loss": sum(self.window) / len(self.window), "learning_rate": step.learning_rate}
        self.window.clear()
        self.rows.append({"step": step.step, "epoch": step.epoch} | curve)
        speed = {"tokens_per_second": self.progress.tokens_per_second}
        tracking.log_metrics({f"train/{name}": value for name, value in (curve | speed).items()}, step.step)

    def add_validation(self, step: Step, metrics: Metrics) -> Metrics:
        """Put an epoch's validation metrics beside its last step and pass them on."""
        self.rows[-1] |= {f"validation_{name}": value for name, value in metrics.items()}
        tracking.log_metrics({f"validation/{name}": value for name, value in metrics.items()}, step.step)
        return metrics

    def write(self) -> None:
        """Write history.csv; validation columns are empty but at the ends of epochs."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        write_csv(HISTORY, columns, [[row.get(column) for column in columns] for row in self.rows])


class Best:
    """The best epoch so far by the primary metric; of equal ones the earlier."""

    def __init__(self, metric: str, direction: str) -> None:
        """Nothing has been offered yet."""
        self.metric = metric
        self.better: Callable[[float, float], bool] = float.__gt__ if direction == "max" else float.__lt__
        self.epoch = 0
        self.metrics: Metrics = {}
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, step: Step, metrics: Metrics, model: Any) -> None:
        """Keep a copy of the weights if this epoch is better."""
        if not self.metrics or self.better(metrics[self.metric], self.metrics[self.metric]):
            self.epoch, self.metrics = step.epoch, metrics
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def save(model: Any, best: Best) -> None:
    """Write the best weights and the tokenizer that belongs to them."""
    model.load_state_dict(best.weights)
    model.save_pretrained(MODEL)
    for path in sorted((TOKENIZED / "processor").iterdir()):
        if path.name != "config.json":
            shutil.copyfile(path, MODEL / path.name)


if __name__ == "__main__":
    run_stage(train)
