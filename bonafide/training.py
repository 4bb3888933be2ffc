"""The loop: AdamW, warmup and linear decay over length-grouped batches; a step is a function of (seed, epoch, step).

It knows neither files nor MLflow: `fit` yields facts, and the train stage decides what to keep.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bonafide.params import Train
from bonafide.ragged import Tokens
from tasks import Batch, Example, Ints

GROUP = 50  # batches sorted by length together; HF's LengthGroupedSampler uses the same figure


@dataclass(frozen=True)
class Step:
    """What one optimiser step yields."""

    epoch: int
    """Counted from 1."""
    step: int
    """Counted from 1, over all epochs."""
    steps: int
    """Of the whole run."""
    loss: float
    """Mean cross-entropy of the batch, nats."""
    learning_rate: float
    tokens: int
    """Real tokens in the batch, padding not counted."""
    ends_epoch: bool


def generator(*key: int) -> np.random.Generator:
    """A private generator that is a pure function of the key (Philox, counter-based)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def batches(lengths: Ints, batch_size: int, seed: int, epoch: int) -> list[Ints]:
    """The batches of an epoch, each an array of row indices: shuffled, then sorted by length within groups of 50."""
    chance = generator(seed, epoch)
    order = chance.permutation(len(lengths))
    size = batch_size * GROUP
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    rows = np.concatenate([group[np.argsort(-lengths[group], kind="stable")] for group in groups])
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    return [parts[i] for i in chance.permutation(len(parts))]


def schedule(step: int, steps: int, warmup_ratio: float) -> float:
    """The factor on the peak learning rate at `step` of `steps`: linear up to 1, then linear down to 0."""
    warmup = max(1, round(steps * warmup_ratio))
    return min(step / warmup, max(0.0, (steps - step + 1) / max(1, steps - warmup + 1)))


def build_optimizer(model: torch.nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW that decays matrices only, not biases and normalisation (Devlin et al. 2019, A.2)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def fit(
    model: Any, tokens: Tokens, collate: Callable[[list[Example]], Batch], params: Train, seed: int
) -> Iterator[Step]:
    """Train `model` in place on its own device, yielding after each step; bf16 autocast where that is a GPU."""
    device = next(model.parameters()).device
    lengths = tokens.lengths
    optimizer = build_optimizer(model, params.weight_decay)
    per_epoch = -(-len(tokens) // params.batch_size)
    steps = per_epoch * params.epochs
    for epoch in range(1, params.epochs + 1):
        for index, rows in enumerate(batches(lengths, params.batch_size, seed, epoch), start=1):
            step = (epoch - 1) * per_epoch + index
            torch.manual_seed(int(generator(seed, epoch, index).integers(2**63)))  # dropout of this step
            rate = params.learning_rate * schedule(step, steps, params.warmup_ratio)
            batch = {k: v.to(device) for k, v in collate([tokens.example(i) for i in rows]).items()}
            loss = update(model, batch, optimizer, rate, params.max_grad_norm)
            yield Step(epoch, step, steps, loss, rate, int(lengths[rows].sum()), index == per_epoch)


def update(model: Any, batch: Batch, optimizer: torch.optim.Optimizer, rate: float, max_grad_norm: float) -> float:
    """One optimiser step at learning rate `rate`; return the batch's mean loss."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    model.train()
    with torch.autocast(batch["input_ids"].device.type, torch.bfloat16, enabled=batch["input_ids"].is_cuda):
        loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())
