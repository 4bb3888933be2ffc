"""Train: fit the task's model on the tokenized train split and keep the best epoch.

in   data/tokenized/   train and validation arrays, processor and labels, from tokenize
     models/base/      from fetch
out  models/model/     weights, config and tokenizer; loads with transformers' from_pretrained
     reports/train/    history.csv: loss and learning rate along the way, validation metrics per epoch
     reports/train.json

Killed at any moment, the next run goes on from the newest checkpoint and ends in the same bytes.
"""

import gc
import json
import shutil
import sys
from contextlib import suppress
from dataclasses import fields
from typing import Any

import torch
from filelock import FileLock

from bonafide import launch, ragged, runs
from bonafide.checkpoints import Checkpoints
from bonafide.environment import die_with_parent, fingerprint
from bonafide.errors import InputError
from bonafide.history import Best, History
from bonafide.inference import predict_all
from bonafide.lineage import resume_key
from bonafide.params import Params, load_params, read_yaml
from bonafide.paths import BASE_MODEL, MODEL, PARAMS, TOKENIZED
from bonafide.performance import Stopwatch
from bonafide.plan import Recipe
from bonafide.ragged import Tokens
from bonafide.seen import Seen
from bonafide.stage import Stop, run_stage, say
from bonafide.trainable import choose, merge
from bonafide.training import Engine
from bonafide.vocabulary import Vocabulary
from bonafide.world import World
from tasks import Metrics, Task, load_task

GRACE = 4  # seconds a signalled step has to end in, so that the checkpoint is there within 5
SHAPES_NOTHING = ("train.profile_steps", "train.processes")  # the second only where training is exact


def train(params: Params) -> Metrics:
    """Train with early stopping; return the best epoch's validation metrics."""
    task, world = load_task(params.task), join(params)
    folder = runs.state() / "checkpoints" / checkpoint_key(params)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock" if world.rank == 0 else f"{folder}.{world.rank}.lock", timeout=30):
        model, vocabulary, tokens, validation = prepare(params, task)
        watch = Stopwatch(str(next(model.parameters()).device))
        engine = build_engine(model, tokens, task, params, world, watch)
        run = Run(engine, Checkpoints(folder, say), task, engine.frozen.cache(validation), params.train.patience)
        run.resume()
        run.train(Seen(engine, watch, run.done, params.train.profile_steps) if world.rank == 0 else None)
        launch.leave()
        if world.rank > 0:
            return {}
        run.history.write()
        save(model, run.best, engine, vocabulary)
        run.checkpoints.remove()
    return {"train/steps": run.done, "train/best_epoch": run.best.epoch} | {
        f"train/best/{name}": value for name, value in run.best.metrics.items()
    }


def join(params: Params) -> World:
    """Join the launcher's processes, if there is one."""
    exact = params.train.exact
    rank, size = launch.join() if launch.is_worker() else (0, 1)
    if exact and params.train.shards % (size * params.train.accumulation):
        raise InputError(f"train.shards: {params.train.shards} cannot be shared by {size} processes")
    return World(rank, size, exact)


def checkpoint_key(params: Params) -> str:
    """A hash of all that shapes the weights: code, data, params, machine. Another's checkpoint is never used."""
    ignored = SHAPES_NOTHING if params.train.exact else SHAPES_NOTHING[:1]
    return f"{resume_key(read_yaml(PARAMS), 'train', ignored)[:32]}-{fingerprint(params.threads)['hash']}"


def prepare(params: Params, task: Task) -> tuple[Any, Vocabulary, Tokens, Tokens]:
    """The model on its device with the words that the texts use, and train and validation in its ids."""
    labels = json.loads((TOKENIZED / "labels.json").read_text(encoding="utf-8"))
    splits = [ragged.read(TOKENIZED / name) for name in ("train", "validation")]
    torch.manual_seed(params.seed)  # the head's first weights
    model = task.build_model(BASE_MODEL, labels, params.train.dropout)
    model = choose(model, params.train.trainable, params.train.lora_rank, params.train.frozen_layers)
    if params.train.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    vocabulary = Vocabulary(model, splits, model.config.pad_token_id or 0)
    tokens, validation = (vocabulary.translate(split) for split in splits)
    return model, vocabulary, tokens, validation


def build_engine(model: Any, tokens: Tokens, task: Task, params: Params, world: World, watch: Stopwatch) -> Engine:
    """The engine for these params; InputError where the architecture cannot do what they ask."""
    known = {field.name for field in fields(Recipe)} - {"seed"}
    recipe = Recipe(**{name: getattr(params.train, name) for name in known}, seed=params.seed)
    try:
        engine = Engine(model, tokens, task.loss, recipe, world, watch)
    except ValueError as error:
        raise InputError(str(error)) from None
    if not engine.packed and world.rank == 0:
        say(f"train: {model.config.model_type} does not take packed batches: training on padded ones")
    if engine.frozen.layers and engine.inputs.below is None and world.rank == 0:
        say("train: each step computes the frozen layers: their output is too large to keep, or cannot be put back in")
    return engine


class Run:
    """A training that goes on where its checkpoints say."""

    def __init__(self, engine: Engine, checkpoints: Checkpoints, task: Task, validation: Tokens, patience: int) -> None:
        """Nothing has been trained yet."""
        self.engine, self.checkpoints, self.task, self.validation = engine, checkpoints, task, validation
        self.patience, self.done, self.saved = patience, 0, 0
        self.history, self.best = History(), Best(*task.PRIMARY_METRIC)

    def resume(self) -> None:
        """Load the newest checkpoint that verifies, the same one in every process."""
        found = self.checkpoints.newest()
        step = found.step if found else 0
        if self.engine.world.agree(step) != step:
            raise InputError("not every process sees the same checkpoints: .bonafide must be on a shared disk")
        if found:
            self.engine.optimizer.load(found.load("state"), step)
            weights = found.load("best") if found.progress["best"]["epoch"] else {}
            self.history.load(found.progress["history"])
            self.best.load(found.progress["best"], weights)
            self.done = step
            if self.engine.world.rank == 0:
                say(f"train: goes on from step {step}")

    def train(self, seen: Seen | None) -> None:
        """Train to the end, or until a signal: then save within 5 s and exit."""
        gc.collect()
        gc.freeze()  # what is there by now stays: collections cost 2 % of a step otherwise
        with Stop(GRACE) as stop:
            try:
                self._steps(seen, stop)
            except ConnectionError:
                if not stop.code:
                    raise
                self._end(stop.code)
        if seen:
            seen.close(self.saved)

    def _steps(self, seen: Seen | None, stop: Stop) -> None:
        over = self.best.is_old(self.done // self.engine.per_epoch, self.patience)
        for step in self.engine.steps(self.done) if not over else ():
            curve = self.history.add(step)
            self.done = step.step
            if seen:
                seen.step(step, curve)
            if step.ends_epoch and self._ends(step.epoch):
                break
            if stop.code and self.engine.world.rank == 0:
                self._end(stop.code)
            if seen and self.checkpoints.due():
                with seen.watch("checkpoint"):
                    self.save()

    def _ends(self, epoch: int) -> bool:
        """Validate after an epoch; whether it was the last one. Rank 0 decides."""
        if self.engine.world.rank == 0:
            with self.engine.watch("validation"):
                metrics = self.task.score(
                    self.validation.labels, predict_all(self.engine.model, self.validation, self.task.predict)
                )
            self.history.add_validation(self.done, metrics)
            self.best.offer(epoch, metrics, self.engine.optimizer.trained)
        return bool(self.engine.world.agree(self.best.is_old(epoch, self.patience)))

    def save(self, *, wait: bool = False) -> None:
        """Save all that is needed to go on; the best weights only when they are new."""
        files: dict[str, Any] = {"state": self.engine.optimizer.state()}
        if self.best.epoch:
            files["best"] = None if self.best.is_saved else self.best.weights
        progress = {"history": self.history.progress(), "best": self.best.progress()}
        self.checkpoints.save(self.done, files, progress, wait=wait)
        self.best.is_saved, self.saved = True, self.saved + 1

    def _end(self, code: int) -> None:
        if self.engine.world.rank == 0 and self.done:
            self.save(wait=True)
            say(f"train: stopped after step {self.done}; the next run goes on from there")
        sys.exit(code)


def save(model: Any, best: Best, engine: Engine, vocabulary: Vocabulary) -> None:
    """Write the best weights, as an ordinary model of transformers, and the tokenizer that belongs to them."""
    engine.optimizer.release()
    with torch.no_grad():
        for name, weight in engine.optimizer.trained.items():
            weight.copy_(best.weights[name])
    vocabulary.restore()
    whole = merge(model)
    whole.set_attn_implementation("sdpa")
    whole.save_pretrained(MODEL)
    for path in sorted((TOKENIZED / "processor").iterdir()):
        if path.name != "config.json":
            shutil.copyfile(path, MODEL / path.name)


def main() -> None:
    """Run the stage here, or in as many processes as params.yaml asks for."""
    processes = 1
    with suppress(InputError):  # the stage itself tells what is wrong
        processes = load_params().train.processes
    if processes > 1 and not launch.is_worker():
        sys.exit(launch.run_workers(processes, [sys.executable, "-m", "stages.train"]))
    run_stage(train, launch.exit_with_parent if launch.is_worker() else die_with_parent)


if __name__ == "__main__":
    main()
