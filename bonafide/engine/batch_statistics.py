"""Batch normalisation: over each shard in training, and by statistics of some of train's examples in evaluation.

Normalised over a shard (a ghost batch: Hoffer et al. 2017), a step is the same from any number of processes, and none
waits for another within a pass. What evaluation normalises by is measured anew before each validation, with the
weights as they then are (Wu and Johnson 2021, section 3): a function of weights and data, of which no checkpoint has
to keep anything, where a moving average would depend on where a training was interrupted.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from bonafide.forward.network import Examples, Network
from bonafide.project.errors import InputError

EXAMPLES, BATCHES = 4096, 8  # of train that statistics are measured on, and in how many batches


def trained_norms(model: nn.Module) -> list[BatchNorm]:
    """Batch normalisations that are not frozen: frozen ones keep the statistics that they came with."""
    found = [module for module in model.modules() if isinstance(module, BatchNorm)]
    return [module for module in found if any(p.requires_grad for p in module.parameters())]


def train_mode(model: nn.Module) -> None:
    """Set a model to training, but for frozen batch normalisations."""
    model.train()
    trained = {*trained_norms(model)}
    for module in model.modules():
        if isinstance(module, BatchNorm) and module not in trained:
            module.eval()


def check_shards(examples: int, batch_size: int, shards: int) -> None:
    """Raise InputError where the last batch of an epoch leaves a shard with one example: it has no variance."""
    last = examples % batch_size or batch_size
    if min(last, batch_size) < 2 * shards:
        raise InputError(
            f"train.batch_size: {batch_size}: the last of {examples:,} examples make a batch of {last}, and batch"
            f" normalisation needs two for each of {shards} shards: take another batch_size, or fewer shards"
        )


@torch.no_grad()
def measure(model: nn.Module, examples: Examples, task: Network) -> None:
    """Have evaluation normalise by the mean and variance over train; nothing without such layers.

    A batch has examples from all of train, which may be sorted by class: of one class alone, CIFAR-10 loses 11 points.
    """
    norms: list[Any] = trained_norms(model)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the mean over batches
    spread = np.unique(np.linspace(0, len(examples) - 1, EXAMPLES).astype(np.int64))
    batches = min(BATCHES, max(1, len(spread) // 2))
    for rows in (spread[first::batches] for first in range(batches)):
        model(**task.collate(examples, rows, model).inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
