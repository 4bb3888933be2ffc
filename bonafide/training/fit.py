"""Fit a network with the engine: from tokenized splits and a base model to models/model."""

import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from bonafide.datasets.ragged import Tokens
from bonafide.engine import batch_statistics
from bonafide.engine.engine import Engine
from bonafide.engine.fsdp import ShardedEngine
from bonafide.engine.hyperparameters import Recipe
from bonafide.engine.optimizer import FlatAdamW, State
from bonafide.engine.process_group import ProcessGroup
from bonafide.forward.network import Examples, Network
from bonafide.monitoring.monitor import Monitor
from bonafide.monitoring.performance import Stopwatch
from bonafide.params.sections import Params
from bonafide.project.arrays import Metrics
from bonafide.project.console import say
from bonafide.project.dvc_lock import stage_keys
from bonafide.project.environment import fingerprint
from bonafide.project.errors import InputError
from bonafide.project.files import make_readable
from bonafide.project.paths import MODEL, PARAMS, TOKENIZED
from bonafide.project.yaml_files import read_yaml
from bonafide.training import launch
from bonafide.training.checkpoints.manager import Checkpoints
from bonafide.training.checkpoints.sharded import ShardedCheckpoints
from bonafide.training.finetuning import choose_trainable, merge_lora
from bonafide.training.saved_model import SavedModelCheck
from bonafide.training.trainer import Trainer
from bonafide.training.vocabulary_pruning import PrunedVocabulary


def fit(task: Network, params: Params, state: Path, finish: Callable[[], Metrics] = dict) -> Metrics:
    """Train with checkpoints below `state`; one process at a time there. Return the best epoch's validation metrics.

    `finish` does what remains to be done with models/model, and returns what there is to say of it.
    """
    world = join(params)
    folder = state / "checkpoints" / checkpoint_key(params)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock" if world.rank == 0 else f"{folder}.{world.rank}.lock", timeout=30):
        return run(task, params, world, folder, finish)


def run(task: Network, params: Params, world: ProcessGroup, folder: Path, finish: Callable[[], Metrics]) -> Metrics:
    """Train with checkpoints in `folder`, save the best epoch and prove that it is what was validated."""
    model, vocabulary, tokens, validation = prepare(params, task)
    watch = Stopwatch("cuda" if torch.cuda.is_available() else "cpu")
    engine = build_engine(model, tokens, task, params, world, watch)
    sharded = params.train.sharding == "full"
    checkpoints = ShardedCheckpoints(folder, say, world) if sharded else Checkpoints(folder, say)
    trainer = Trainer(engine, checkpoints, task, engine.activation_cache.add_to(validation), params.train.patience)
    trainer.resume()
    trainer.train(Monitor(engine, watch, trainer.done, params.machine.profile_steps) if world.rank == 0 else None)
    trainer.checkpoints.finish()  # from here on rank 0 alone writes
    weights = engine.gather(trainer.best.weights) if isinstance(engine, ShardedEngine) else trainer.best.weights
    launch.leave()
    if world.rank > 0:
        return {}
    trainer.history.write()
    if trainer.sharded:
        model, vocabulary, tokens, validation = prepare(params, task)  # once more, whole, on the CPU
    elif isinstance(engine.optimizer, FlatAdamW):
        engine.optimizer.release()
    load(model, weights)
    batch_statistics.measure(model, tokens, task)
    validated = SavedModelCheck(model, validation, task)
    save(model, vocabulary)
    validated.check()
    facts = {"train/steps": trainer.done, "train/best_epoch": trainer.best.epoch} | finish()
    trainer.checkpoints.remove()
    return facts | {f"train/best/{name}": value for name, value in trainer.best.metrics.items()}


def join(params: Params) -> ProcessGroup:
    """Join the launcher's processes, if there is one."""
    exact = params.train.exact
    rank, size = launch.join() if launch.is_worker() else (0, 1)
    if exact and params.train.shards % (size * params.train.accumulation):
        raise InputError(f"train.shards: {params.train.shards} cannot be shared by {size} processes")
    return ProcessGroup(rank, size, exact)


def checkpoint_key(params: Params) -> str:
    """A hash of all that shapes the weights: code, data, params, machine. Another's checkpoint is never used."""
    sums = params.train.exact or params.train.sharding == "full"  # sharded, any number of processes may go on
    processes = "" if sums else f"-{params.machine.processes}"
    return f"{stage_keys(read_yaml(PARAMS), 'train')['train'][:32]}-{fingerprint(params.threads)['hash']}{processes}"


def prepare(params: Params, task: Network) -> tuple[Any, PrunedVocabulary, Examples, Examples]:
    """The model with the words that the texts use, on its device unless that is for its parts, and the splits' ids."""
    splits = [task.examples(TOKENIZED / name) for name in ("train", "validation")]
    torch.manual_seed(params.seed)  # fresh weights
    model = task.build(params)
    model = choose_trainable(model, params.train.trainable, params.train.lora_rank, params.train.frozen_layers)
    if params.train.gradient_checkpointing:
        checkpoint_activations(model)
    if params.train.sharding == "none":
        model.to("cuda" if torch.cuda.is_available() else "cpu")
    texts = [split for split in splits if isinstance(split, Tokens)]  # of others, ids are read beyond the embeddings
    vocabulary = PrunedVocabulary(model, texts)
    tokens, validation = (vocabulary.translate(split) for split in splits)
    return model, vocabulary, tokens, validation


def checkpoint_activations(model: Any) -> None:
    """Have activations computed again backward; InputError where the architecture cannot."""
    try:
        model.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise InputError(f"train.gradient_checkpointing: {error}") from None


def build_engine(
    model: Any, examples: Examples, task: Network, params: Params, world: ProcessGroup, watch: Stopwatch
) -> Engine:
    """The engine for these params; InputError where the architecture cannot do what they ask."""
    names = {field.name for field in fields(Recipe)} & {field.name for field in fields(params.train)}
    same = {name: getattr(params.train, name) for name in names}
    recipe = Recipe(**same, seed=params.seed, gradient_accumulation_steps=params.train.accumulation)
    kind = ShardedEngine if params.train.sharding == "full" else Engine
    try:
        engine = kind(model, examples, task, recipe, world, watch)
    except ValueError as error:
        raise InputError(str(error)) from None
    if world.rank == 0:
        say(f"train: {model.config.model_type}: {engine.describe()}")
    if engine.activation_cache.layers and engine.inputs is engine.examples and world.rank == 0:
        say("train: each step computes the frozen layers: their output is too large to keep, or cannot be put back in")
    return engine


def load(model: Any, weights: State) -> None:
    """Put the best weights back into the model, which forgets what it has computed of others: LeViT keeps some."""
    model.train()
    trained = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in weights.items():
            trained[name].copy_(weight)


def save(model: Any, vocabulary: PrunedVocabulary) -> None:
    """Write an ordinary model of transformers, and the tokenizer that belongs to it."""
    vocabulary.restore()
    whole = merge_lora(model)
    whole.save_pretrained(MODEL)
    for path in sorted((TOKENIZED / "processor").iterdir()):
        if path.name != "config.json":
            shutil.copyfile(path, MODEL / path.name)
    make_readable(MODEL, like="config.json")
