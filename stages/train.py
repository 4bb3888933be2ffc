"""Train: fit the task's model on the tokenized train split and keep the best epoch.

in   data/tokenized/   train and validation arrays, processor and labels, from tokenize
     models/base/      from fetch
out  models/model/     weights, config and tokenizer; loads with transformers' from_pretrained
     reports/train/    history.csv: loss and learning rate along the way, validation metrics per epoch
     reports/train.json

Killed at any moment, the next run goes on from the newest checkpoint and ends in the same bytes.
"""

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
from bonafide.files import make_readable
from bonafide.fully_sharded import ShardedEngine
from bonafide.lineage import resume_key
from bonafide.optimizer import FlatAdamW, State
from bonafide.params import Params, load_params
from bonafide.parts import Parts
from bonafide.paths import BASE_MODEL, MODEL, PARAMS, TOKENIZED
from bonafide.performance import Stopwatch
from bonafide.plan import Recipe
from bonafide.printable import say
from bonafide.ragged import Tokens
from bonafide.resumable import Run
from bonafide.seen import Seen
from bonafide.stage import run_stage
from bonafide.trainable import choose, merge
from bonafide.training import Engine
from bonafide.vocabulary import Vocabulary
from bonafide.world import World
from bonafide.yaml_files import read_yaml
from tasks import Metrics, Task, load_task

SHAPES_NOTHING = ("train.profile_steps", "train.processes")  # the latter if exact; sharded, any number may go on


def train(params: Params) -> Metrics:
    """Train with early stopping; return the best epoch's validation metrics."""
    task, world = load_task(params.task), join(params)
    folder = runs.state() / "checkpoints" / checkpoint_key(params)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock" if world.rank == 0 else f"{folder}.{world.rank}.lock", timeout=30):
        model, vocabulary, tokens, validation = prepare(params, task)
        watch = Stopwatch("cuda" if torch.cuda.is_available() else "cpu")
        engine = build_engine(model, tokens, task, params, world, watch)
        checkpoints = Parts(folder, say, world) if params.train.sharding == "full" else Checkpoints(folder, say)
        run = Run(engine, checkpoints, task, engine.frozen.cache(validation), params.train.patience)
        run.resume()
        run.train(Seen(engine, watch, run.done, params.train.profile_steps) if world.rank == 0 else None)
        run.checkpoints.finish()  # from here on rank 0 alone writes
        weights = engine.whole(run.best.weights) if isinstance(engine, ShardedEngine) else run.best.weights
        launch.leave()
        if world.rank > 0:
            return {}
        run.history.write()
        if run.sharded:
            model, vocabulary, *_ = prepare(params, task)  # once more, whole, on the CPU
        elif isinstance(engine.optimizer, FlatAdamW):
            engine.optimizer.release()
        save(model, weights, vocabulary)
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
    ignored = SHAPES_NOTHING if params.train.exact or params.train.sharding == "full" else SHAPES_NOTHING[:1]
    return f"{resume_key(read_yaml(PARAMS), 'train', ignored)[:32]}-{fingerprint(params.threads)['hash']}"


def prepare(params: Params, task: Task) -> tuple[Any, Vocabulary, Tokens, Tokens]:
    """The model with the words that the texts use, on its device unless that is for its parts, and the splits' ids."""
    labels = json.loads((TOKENIZED / "labels.json").read_text(encoding="utf-8"))
    splits = [ragged.read(TOKENIZED / name) for name in ("train", "validation")]
    torch.manual_seed(params.seed)  # the head's first weights
    model = task.build_model(BASE_MODEL, labels, params.train.dropout)
    model = choose(model, params.train.trainable, params.train.lora_rank, params.train.frozen_layers)
    if params.train.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if params.train.sharding == "none":
        model.to("cuda" if torch.cuda.is_available() else "cpu")
    vocabulary = Vocabulary(model, splits, model.config.pad_token_id or 0)
    tokens, validation = (vocabulary.translate(split) for split in splits)
    return model, vocabulary, tokens, validation


def build_engine(model: Any, tokens: Tokens, task: Task, params: Params, world: World, watch: Stopwatch) -> Engine:
    """The engine for these params; InputError where the architecture cannot do what they ask."""
    known = {field.name for field in fields(Recipe)} - {"seed"}
    recipe = Recipe(**{name: getattr(params.train, name) for name in known}, seed=params.seed)
    kind = ShardedEngine if params.train.sharding == "full" else Engine
    try:
        engine = kind(model, tokens, task.loss, recipe, world, watch)
    except ValueError as error:
        raise InputError(str(error)) from None
    if not engine.packed and world.rank == 0:
        say(f"train: {model.config.model_type} does not take packed batches: training on padded ones")
    if engine.frozen.layers and engine.inputs.below is None and world.rank == 0:
        say("train: each step computes the frozen layers: their output is too large to keep, or cannot be put back in")
    return engine


def save(model: Any, weights: State, vocabulary: Vocabulary) -> None:
    """Write the best weights, as an ordinary model of transformers, and the tokenizer that belongs to them."""
    trained = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            trained[name].copy_(weight)
    vocabulary.restore()
    whole = merge(model)
    whole.set_attn_implementation("sdpa")
    whole.save_pretrained(MODEL)
    for path in sorted((TOKENIZED / "processor").iterdir()):
        if path.name != "config.json":
            shutil.copyfile(path, MODEL / path.name)
    make_readable(MODEL, like="config.json")


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
