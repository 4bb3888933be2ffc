"""Hyperparameters, the learning rate schedule, and how a batch is cut into shards: pure functions of numbers."""

from dataclasses import dataclass
from math import cos, pi

import numpy as np
import torch

from bonafide.project.arrays import Ints


@dataclass(frozen=True)
class Recipe:
    """What shapes the weights; the train section of params.yaml says what each is."""

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_ratio: float
    schedule: str
    optimizer: str
    betas: tuple[float, float]
    muon_learning_rate: float
    weight_decay: float
    max_grad_norm: float
    gradient_accumulation_steps: int
    shards: int
    exact: bool
    precision: str
    seed: int
    epsilon: float = 1e-8


@dataclass(frozen=True)
class Step:
    """What one optimiser step yields."""

    epoch: int
    """Counted from 1."""
    step: int
    """Counted from 1, over all epochs."""
    steps: int
    """Of the whole run."""
    loss: torch.Tensor
    """Mean loss of the batch, nats; a scalar on the model's device, so that the step waits for nothing."""
    learning_rate: float
    tokens: int
    """Real tokens in the batch, padding not counted."""
    ends_epoch: bool


def schedule(step: int, steps: int, warmup_ratio: float, kind: str) -> float:
    """The factor on the peak learning rate at `step` of `steps`: linear up to 1, then down to 0 or on at 1, by `kind`.

    "linear", "cosine" (half a wave, Loshchilov and Hutter 2017) or "constant".
    """
    warmup = max(1, round(steps * warmup_ratio))
    left = max(0.0, (steps - step + 1) / max(1, steps - warmup + 1))  # 1 at the end of the warmup
    falls = {"linear": left, "cosine": (1 - cos(pi * min(1.0, left))) / 2, "constant": 1.0}
    return min(step / warmup, falls[kind])


def partition_by_tokens(rows: Ints, lengths: Ints, shards: int) -> tuple[Ints, Ints]:
    """Rows by ascending length, and the `shards` + 1 offsets that cut them into shards of about equally many tokens."""
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    ends = np.cumsum(lengths[rows])
    middle = (2 * ends - lengths[rows]) * shards // (2 * ends[-1])
    return rows, np.searchsorted(middle, np.arange(shards + 1))
