"""One training of an image classifier in a process of its own: the engine, or a peer with the same rows and network."""

import contextlib
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.job import Figures, Meter
from benchmarks.measured import peak_mb
from bonafide.engine import batch_statistics
from bonafide.engine.process_group import ProcessGroup
from bonafide.forward.inference import predict_all
from bonafide.params.load import load_params
from bonafide.project import environment
from bonafide.project.paths import TOKENIZED
from bonafide.tasks.image_classification.train import ImageNetwork
from bonafide.training.fit import build_engine
from bonafide.vision.pixels import Images, collate, mirrored_probabilities, normalise, probabilities

__all__ = ["ARMS", "Spec", "measure"]


@dataclass(frozen=True)
class Spec:
    """What the parent process asks for."""

    arm: str
    data: Path
    """A project in which tokenize was run."""
    steps: int | None = None
    """Optimiser steps, the untimed first ones included; None: all of the recipe, the first epoch untimed."""
    warmup: int = 4
    """Steps before the clock starts."""
    seed: int = 1


@dataclass(frozen=True)
class Job:
    """What an arm trains on."""

    params: Any
    task: ImageNetwork
    train: Images
    steps: int
    meter: Meter

    @property
    def recipe(self) -> Any:
        """The train section."""
        return self.params.train


def measure(spec: Spec) -> Figures:
    """Run an arm in this process and return its figures."""
    with contextlib.chdir(spec.data):
        environment.prepare()
        given: Any = load_params()
        params = replace(given, seed=spec.seed)
        torch.set_num_threads(params.threads)
        torch.manual_seed(spec.seed)
        task = ImageNetwork(params.train)
        train = task.examples(TOKENIZED / "train")
        epoch = -(-len(train) // params.train.batch_size)
        steps = spec.steps or epoch * params.train.epochs
        began, meter = time.perf_counter(), Meter("cpu", spec.warmup if spec.steps else epoch, steps)
        model = ARMS[spec.arm](Job(params, task, train, steps, meter))
        scored = {} if spec.steps else score(model, task.examples(TOKENIZED / "test"))
        return (
            meter.figures(began)
            | scored
            | {"machine": environment.fingerprint(params.threads), "peak_mb": peak_mb("cpu")}
        )


def score(model: Any, test: Images) -> Figures:
    """Accuracy on test, of one view and of two."""
    views = {"accuracy": probabilities, "mirrored": mirrored_probabilities}
    if not isinstance(model, nn.Module):  # Keras'
        return {"accuracy": float((model(test).argmax(axis=1) == test.labels).mean())}
    found = {name: predict_all(model, test, view, collate).argmax(axis=1) for name, view in views.items()}
    return {name: float((chosen == test.labels).mean()) for name, chosen in found.items()}


def engine(job: Job, **changes: Any) -> nn.Module:
    """The engine as the recipe has it; the weights are those of the last step, as the peers'."""
    params: Any = replace(job.params, train=replace(job.recipe, **changes))
    model = job.task.build(params)
    timer: Any = lambda _: nullcontext()  # noqa: E731
    running = build_engine(model, job.train, job.task, params, ProcessGroup(exact=job.recipe.exact), timer)
    for step, _ in zip(running.steps(), range(job.steps), strict=False):
        job.meter.batch(step.tokens)
        job.meter.step(step.loss.detach())
    batch_statistics.measure(model, job.train, job.task)
    return model  # type: ignore[no-any-return]


def plain(job: Job, layout: torch.memory_format) -> nn.Module:
    """What most people write: autocast to bf16, AdamW, batches that are flipped and moved as tensors."""
    model: nn.Module = job.task.build(job.params).to(memory_format=layout)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], job.recipe.learning_rate, fused=True
    )
    images = normalise(np.array(job.train.pixels), model).contiguous(memory_format=layout)
    labels, size = torch.from_numpy(np.array(job.train.labels)), job.recipe.batch_size
    smoothed = nn.CrossEntropyLoss(label_smoothing=job.recipe.label_smoothing)
    model.train()
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(job.steps):
        order = order if len(order) else torch.randperm(len(labels))
        rows, order = order[:size], order[size:]
        batch = augment(images[rows], job.recipe.augmentation)
        job.meter.batch(len(rows))
        with torch.autocast("cpu", torch.bfloat16, enabled=job.recipe.precision == "bf16"):
            logits = model(batch).logits
        loss = smoothed(logits.float(), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        job.meter.step(loss.detach())
    return model


def augment(images: torch.Tensor, wanted: Any) -> torch.Tensor:
    """A batch (n, c, h, w), half of it flipped, and all of it moved by one offset: as cheap as it can be."""
    if wanted.flip:
        flipped = torch.rand(len(images)) < 0.5
        images[flipped] = images[flipped].flip(3)
    if wanted.translate:
        moved = nn.functional.pad(images, [wanted.translate] * 4, mode="reflect")
        down, right = torch.randint(0, 2 * wanted.translate + 1, (2,)).tolist()
        images = moved[:, :, down : down + images.shape[2], right : right + images.shape[3]]
    return images


def keras(job: Job) -> Callable[[Images], Any]:
    """The textbook's program, literally, on Keras with torch as its backend."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras as library

    library.utils.set_random_seed(job.params.seed)
    hidden, recipe = job.recipe.architecture.hidden, job.recipe
    model = library.Sequential(
        [
            library.layers.Input(job.train.pixels.shape[1:]),
            library.layers.Flatten(),
            *(library.layers.Dense(units, activation="relu") for units in hidden),
            library.layers.Dense(len(job.params.task.labels), activation="softmax"),
        ]
    )
    optimizer = library.optimizers.Adam(recipe.learning_rate)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    pixels, meter, size = np.asarray(job.train.pixels) / np.float32(255), job.meter, recipe.batch_size

    class Told(library.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            meter.batch(min(size, len(pixels) - batch * size))
            meter.step(0.0 if logs is None else float(logs["loss"]))
            self.model.stop_training = len(meter.losses) == job.steps

    model.fit(
        pixels, np.asarray(job.train.labels), batch_size=size, epochs=recipe.epochs, verbose=0, callbacks=[Told()]
    )
    return lambda test: model.predict(np.asarray(test.pixels) / np.float32(255), verbose=0)


ARMS: dict[str, Callable[[Job], Any]] = {
    "exact": engine,
    "exact-adamw": lambda job: engine(job, optimizer="adamw"),
    "keras": keras,
    "torch": lambda job: plain(job, torch.contiguous_format),
    "torch-channels-last": lambda job: plain(job, torch.channels_last),
}
