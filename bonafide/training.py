"""The loop: AdamW, warmup and linear decay; a step is a pure function of (weights, seed, step).

It knows neither files nor MLflow nor signals: `Engine.steps` yields facts, and the train stage decides what to keep
and when to stop. Nothing but an integer is needed to go on after an interruption: steps start at any number.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from bonafide.frozen import Frozen
from bonafide.optimizer import build_optimizer, flatten, unflatten, update
from bonafide.packing import enable, lay_out
from bonafide.ragged import Tokens
from bonafide.shards import Layout, make_exact, replace_dropout, tree_sum
from bonafide.world import World
from tasks import Ints

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (n, classes) logits, (n,) labels: nats a text, (n,)
Watch = Callable[[str], AbstractContextManager[None]]  # times a phase: with watch("optimizer"): ...


@dataclass(frozen=True)
class Recipe:
    """What shapes the weights; the train section of params.yaml says what each is."""

    epochs: int
    batch_size: int
    learning_rate: float
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    accumulation: int
    shards: int
    exact: bool
    seed: int


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


def generator(*key: int) -> np.random.Generator:
    """A private generator that is a pure function of the key (Philox, counter-based)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def schedule(step: int, steps: int, warmup_ratio: float) -> float:
    """The factor on the peak learning rate at `step` of `steps`: linear up to 1, then linear down to 0."""
    warmup = max(1, round(steps * warmup_ratio))
    return min(step / warmup, max(0.0, (steps - step + 1) / max(1, steps - warmup + 1)))


def cut(rows: Ints, lengths: Ints, shards: int) -> tuple[Ints, Ints]:
    """Rows by ascending length, and the `shards` + 1 cuts that part them into neighbours of about equal tokens."""
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    ends = np.cumsum(lengths[rows])
    middle = (2 * ends - lengths[rows]) * shards // (2 * ends[-1])
    return rows, np.searchsorted(middle, np.arange(shards + 1))


class Engine:
    """A model in training: its optimizer, its shards, and the other processes that it adds up with."""

    def __init__(self, model: Any, tokens: Tokens, loss: Loss, recipe: Recipe, world: World, watch: Watch) -> None:
        """Make the model take packed batches and shards; ValueError where it cannot and the recipe needs it."""
        self.model, self.tokens, self.loss = model, tokens, loss
        self.recipe, self.world, self.watch = recipe, world, watch
        self.packed, self.layout = enable(model), Layout()
        parts = world.size * recipe.accumulation
        if recipe.exact and not self.packed and parts > 1:
            raise ValueError(
                f"{model.config.model_type} cannot be packed, nor exact in parts: set train.exact to false"
            )
        self.shards = recipe.shards if recipe.exact and self.packed else parts
        if self.shards > 1 and recipe.exact:
            make_exact(model, self.layout)
        replace_dropout(model, self.layout)
        self.frozen = Frozen(model, packed=self.packed)
        self.inputs = self.frozen.cache(tokens)
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = build_optimizer(model, recipe.weight_decay)
        self.per_epoch = -(-len(tokens) // recipe.batch_size)

    def steps(self, done: int = 0) -> Iterator[Step]:
        """Train in place from step `done` + 1 on, yielding after each step."""
        recipe, last = self.recipe, self.per_epoch * self.recipe.epochs
        order = np.empty(0, dtype=np.int64)
        for number in range(done + 1, last + 1):
            epoch, index = (number - 1) // self.per_epoch + 1, (number - 1) % self.per_epoch
            if index == 0 or not len(order):
                order = generator(recipe.seed, epoch).permutation(len(self.tokens))
            rows = order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
            loss = self._gradients(rows, int(generator(recipe.seed, epoch, number).integers(2**63)))
            rate = recipe.learning_rate * schedule(number, last, recipe.warmup_ratio)
            with self.watch("optimizer"):
                update(self.optimizer, rate, recipe.max_grad_norm)
            tokens = int(self.tokens.lengths[rows].sum())
            yield Step(epoch, number, last, loss, rate, tokens, ends_epoch=index + 1 == self.per_epoch)

    def _gradients(self, rows: Ints, key: int) -> torch.Tensor:
        """Leave the gradient of the mean loss of texts `rows` in the parameters; return the loss."""
        ordered, cuts = cut(rows, self.tokens.lengths, self.shards)
        mine = self.shards // self.world.size
        each = mine // self.recipe.accumulation
        firsts = range(self.world.rank * mine, (self.world.rank + 1) * mine, each)
        losses = (self._pass(ordered, cuts[first : first + each + 1], key, first) for first in firsts)
        if len(firsts) * self.world.size == 1:
            return next(losses)
        total = tree_sum(flatten(self.trained.values(), loss) for loss in losses)
        with self.watch("reduce"):
            return unflatten(self.trained.values(), self.world.sum(total))

    def _pass(self, ordered: Ints, cuts: Ints, key: int, shard: int) -> torch.Tensor:
        """Forward and backward over shards from `shard` on; return their part of the mean loss."""
        rows = ordered[cuts[0] : cuts[-1]]
        if not len(rows):  # a last batch of fewer texts than shards
            return torch.zeros((), device=next(self.model.parameters()).device)
        with self.watch("data"):
            batch = lay_out(self.inputs, rows, self.model)
            self.layout.set(batch.lengths, (cuts - cuts[0]).tolist(), key, shard)
        self.model.train()
        torch.manual_seed(key)  # for chance that is no nn.Dropout, in architectures of their own
        with self.watch("forward and backward"):
            with torch.autocast(batch.labels.device.type, torch.bfloat16, enabled=batch.labels.is_cuda):
                logits = self.model(**batch.inputs).logits
            losses = self.loss(logits.float(), batch.labels) / len(ordered)
            losses.sum().backward()  # type: ignore[no-untyped-call]
        self.layout.clear()
        return tree_sum(losses.detach()[first:end].sum() for first, end in pairwise((cuts - cuts[0]).tolist()))
