"""The trainer: validates, saves, and goes on from the newest verified checkpoint after any kill."""

import gc
import sys
import time
from typing import Any, Protocol

from bonafide.engine import batch_statistics
from bonafide.engine.engine import Engine
from bonafide.engine.fsdp import ShardedEngine
from bonafide.engine.hyperparameters import Step
from bonafide.engine.process_group import lost_peer_errors
from bonafide.forward.inference import predict_all
from bonafide.forward.network import Examples, Network
from bonafide.project.arrays import Metrics
from bonafide.project.console import say
from bonafide.project.errors import InputError
from bonafide.project.signals import Stop
from bonafide.training.best_epoch import BestEpoch
from bonafide.training.checkpoints.manager import Checkpoints
from bonafide.training.checkpoints.sharded import ShardedCheckpoints
from bonafide.training.history import History

GRACE = 4  # seconds a signalled step has to end in, so that the checkpoint is there within 5


class Observer(Protocol):
    """Who is told of a training as it runs, such as `monitoring.Monitor`; shapes no result."""

    def step(self, step: Step, curve: Metrics) -> None:
        """A step has ended, perhaps with a curve point."""

    def exclude(self, seconds: float) -> None:
        """So long no step was made."""

    def close(self, checkpoints: int) -> None:
        """The training has ended, after so many checkpoints."""


class Trainer:
    """A training that goes on where its checkpoints say.

    Rank 0 validates and saves; of a sharded model all processes do, each its rows, at steps that they agree on.
    """

    def __init__(
        self,
        engine: Engine,
        checkpoints: Checkpoints | ShardedCheckpoints,
        task: Network,
        validation: Examples,
        patience: int,
    ) -> None:
        """Nothing has been trained yet."""
        self.engine, self.checkpoints, self.task, self.validation = engine, checkpoints, task, validation
        self.sharded, self.leads = isinstance(engine, ShardedEngine), engine.group.rank == 0
        self.patience, self.done, self.saved = patience, 0, 0
        self.history, self.best = History(), BestEpoch(task.CRITERION, higher_is_better=task.HIGHER_IS_BETTER)

    def resume(self) -> None:
        """Load the newest checkpoint that verifies, the same one in every process."""
        found = self.checkpoints.newest()
        step = found.step if found else 0
        if self.engine.group.broadcast(step) != step:
            raise InputError("not every process sees the same checkpoints: .bonafide must be on a shared disk")
        if found:
            self.engine.optimizer.load(found.load("state"), step)
            weights = found.load("best") if found.progress["best"]["epoch"] else {}
            self.history.load(found.progress["history"])
            self.best.load(found.progress["best"], weights)
            self.best.is_saved = not self.sharded  # perhaps by another number of processes
            self.done = step
            if self.leads:
                say(f"train: goes on from step {step}")

    def train(self, monitor: Observer | None) -> None:
        """Train to the end, or until a signal: then save within 5 s and exit."""
        gc.collect()
        gc.freeze()  # what is there by now stays: collections cost 2 % of a step otherwise
        with Stop(GRACE) as stop:
            try:
                self._steps(monitor, stop)
            except ConnectionError:
                if not stop.code:
                    raise
                if self.sharded:  # nothing can be saved any more
                    sys.exit(stop.code)
                self._end(stop.code)
        if monitor:
            monitor.close(self.saved)

    def _steps(self, monitor: Observer | None, stop: Stop) -> None:
        over = self.best.is_old(self.done // self.engine.steps_per_epoch, self.patience)
        for step in self.engine.steps(self.done) if not over else ():
            curve = self.history.add(step)
            self.done = step.step
            if monitor:
                monitor.step(step, curve)
            if step.ends_epoch:
                began = time.monotonic()
                last = self._ends(step.epoch)
                if monitor:
                    monitor.exclude(time.monotonic() - began)
                if last:
                    break
            asked = self._asked(stop.code)
            if asked > 1:
                self._end(asked)
            if asked:
                with self.engine.timer("checkpoint"):
                    self.save()

    def _asked(self, code: int) -> int:
        """The exit code of a signal, else whether a checkpoint is due: a sharded one once all find that it is."""
        if self.sharded:
            return abs(self.engine.group.all_min(-code or int(self.checkpoints.due())))
        return (code or int(self.checkpoints.due())) if self.leads else 0

    def _ends(self, epoch: int) -> bool:
        """Validate after an epoch; whether it was the last one. Rank 0 decides."""
        group = self.engine.group
        if self.leads or self.sharded:
            with self.engine.timer("validation"), lost_peer_errors():
                batch_statistics.measure(self.engine.model, self.engine.given, self.task)
                found = predict_all(self.engine.model, self.validation, self.task.outputs, self.task.collate)
                metrics = self.task.validation_metrics(self.validation, found)
            if self.leads:
                self.history.add_validation(self.done, metrics)
            self.best.offer(epoch, metrics, self.engine.optimizer.trained, group.broadcast if self.sharded else int)
        return bool(group.broadcast(self.best.is_old(epoch, self.patience)))

    def save(self, *, wait: bool = False) -> None:
        """Save all that is needed to go on; the best weights only when they are new."""
        files: dict[str, Any] = {"state": self.engine.optimizer.state()}
        if self.best.epoch:
            files["best"] = None if self.best.is_saved else self.best.weights
        progress = {"history": self.history.progress(), "best": self.best.progress()}
        self.checkpoints.save(self.done, files, progress, wait=wait)
        self.best.is_saved, self.saved = True, self.saved + 1

    def _end(self, code: int) -> None:
        if self.done and (self.leads or self.sharded):
            self.save(wait=True)
            if self.leads:
                say(f"train: stopped after step {self.done}; the next run goes on from there")
        sys.exit(code)
