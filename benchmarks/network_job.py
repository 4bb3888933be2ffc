"""What an arm of benchmarks.translation and benchmarks.lm is given: a model and examples by a project's recipe."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.job import Meter
from bonafide.params.sections import Params


@dataclass(frozen=True)
class Spec:
    """What the parent process asks for."""

    arm: str
    data: Path
    """A project in which tokenize was run."""
    steps: int
    """Optimiser steps, the untimed first ones included."""
    warmup: int = 4
    """Steps before the clock starts."""
    seed: int = 1
    nanogpt: Path | None = None
    """A checkout of nanoGPT."""


@dataclass(frozen=True)
class Job:
    """What an arm trains on; `recipe`, `steps`, `warmup`, `seed` and `device` are what benchmarks.peers.fit reads."""

    params: Params
    task: Any
    """The task's `train` module."""
    model: Any
    """With random weights."""
    processor: Any
    given: Any
    """The train split."""
    spec: Spec
    meter: Meter
    device: str = "cpu"

    @property
    def recipe(self) -> Any:
        """The train section."""
        return self.params.train

    @property
    def steps(self) -> int:
        """Of the optimiser."""
        return self.spec.steps

    @property
    def seed(self) -> int:
        """Of order and dropout."""
        return self.spec.seed

    @property
    def warmup(self) -> int:
        """Steps of rising learning rate."""
        return max(1, round(self.steps * float(self.recipe.warmup_ratio)))

    def batches(self, count: int) -> Iterator[Any]:
        """Rows of each batch, of `count`: shuffled, epoch after epoch, `steps` in all."""
        rng, size = np.random.default_rng(self.seed), self.recipe.batch_size
        order = np.concatenate([rng.permutation(count) for _ in range(-(-self.steps * size // count))])
        return iter(np.split(order[: self.steps * size], self.steps))
