"""The loop: AdamW, warmup and linear decay; a step is a pure function of (weights, seed, step).

It knows neither files nor MLflow nor signals: `Engine.steps` yields facts, and the train stage decides what to keep
and when to stop. Nothing but an integer is needed to go on after an interruption: steps start at any number.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from bonafide.datasets.ragged import Tokens
from bonafide.engine.activation_cache import ActivationCache
from bonafide.engine.batch_invariance import least_rows
from bonafide.engine.bucketing import Slots, Texts, fill, slots
from bonafide.engine.cuda_graphs import Graphs
from bonafide.engine.grad_ops import take_over
from bonafide.engine.grad_writer import written
from bonafide.engine.optimizer import FlatAdamW, Optimizer
from bonafide.engine.precision import product_dtype
from bonafide.engine.process_group import ProcessGroup
from bonafide.engine.recipe import Recipe, Step, cut, schedule
from bonafide.engine.shard_equivalence import settle
from bonafide.engine.step_context import Layout, replace_dropout, tree_sum
from bonafide.forward.batch import Batch
from bonafide.forward.overlap import Aside, mostly_trained
from bonafide.forward.packing import lay_out, obstacle
from bonafide.forward.transfer import send
from bonafide.project.arrays import Ints
from bonafide.project.randomness import generator

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (n, classes) logits, (n,) labels: nats a text, (n,)
Watch = Callable[[str], AbstractContextManager[None]]  # times a phase: with watch("optimizer"): ...


class Engine:
    """A model in training: its optimizer, its shards, and the other processes that it adds up with."""

    def __init__(
        self, model: Any, tokens: Tokens, loss: Loss, recipe: Recipe, world: ProcessGroup, watch: Watch
    ) -> None:
        """Make the model take packed batches and shards where it can; `reasons` says why it does not."""
        self.model, self.tokens, self.loss = model, tokens, loss
        self.recipe, self.world, self.watch = recipe, world, watch
        self.layout = Layout(next(model.parameters()).device)
        self.obstacle = obstacle(model)
        """Why batches are padded; empty where they are packed."""
        self.packed, self.exact = not self.obstacle, recipe.exact
        self.shards = recipe.shards if recipe.exact else world.size * recipe.gradient_accumulation_steps
        replace_dropout(model, self.layout)
        self.apart = "" if self.packed else "padded rows depend on the longest text"
        """Why each shard is a pass of its own where sums must be exact; empty where several share one."""
        self.optimizer: Optimizer = self._take()
        self.steps_per_epoch = -(-len(tokens) // recipe.batch_size)

    def _take(self) -> Optimizer:
        """Take the model over: gradients in place, what frozen layers give kept, trained weights end to end."""
        model, layout = self.model, self.layout
        layout.exact = self.packed and self.recipe.exact and self.shards > 1
        others = take_over(model, layout) if self.packed else []
        if others and layout.exact:
            self.apart = f"{others[0]} holds weights beside modules"
        if self.packed or layout.queued:
            layout.products = product_dtype(self.recipe.precision, on_gpu=layout.queued)
        shares = self.packed and not layout.queued and mostly_trained(model)
        layout.aside = Aside(torch.get_num_threads() if shares else 1)
        if layout.exact:
            rows = round(self.tokens.lengths.mean() * self.recipe.batch_size)
            layout.least_rows = least_rows(model, rows, layout.aside, layout.products)
        self.fills = self.packed and layout.queued and layout.products != torch.float32  # fp32's attention asks lengths
        self.activation_cache = ActivationCache(model, packed=self.packed, low=self.fills)
        self.inputs = self.activation_cache.add_to(self.tokens)
        optimizer = FlatAdamW(model, self.recipe.weight_decay)
        layout.lowered = {} if layout.products == torch.float32 else optimizer.lower(model, layout.products)
        self.longest = int(self.inputs.lengths.max())
        self.optimizer, self.compute = optimizer, self._compute
        self._settle()
        if self.fills:
            self.compute = Graphs(self._compute, layout, optimizer.gradient)
        return optimizer

    def _settle(self) -> None:
        """Let several shards share a pass if that changes no bit, else give each its own."""
        if self.packed:
            self.apart = settle(self) if not self.apart else self.apart
        if self.apart:
            self.layout.exact = False
            self.layout.taken -= self.layout.copied

    def describe(self) -> str:
        """How texts are laid out and gradients summed, and why not otherwise: one line."""
        parts = f"padded texts ({self.obstacle})" if self.obstacle else "packed texts"
        if not self.recipe.exact:
            return f"{parts}, sums not exact (train.exact is false)"
        return f"{parts}, exact sums" + (
            f", each of {self.shards} shards a pass of its own ({self.apart})" if self.apart else ""
        )

    def steps(self, done: int = 0) -> Iterator[Step]:
        """Train in place from step `done` + 1 on, yielding after each step."""
        recipe, last = self.recipe, self.steps_per_epoch * self.recipe.epochs
        order = np.empty(0, dtype=np.int64)
        for number in range(done + 1, last + 1):
            epoch, index = (number - 1) // self.steps_per_epoch + 1, (number - 1) % self.steps_per_epoch
            if index == 0 or not len(order):
                order = generator(recipe.seed, epoch).permutation(len(self.tokens))
            rows = order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
            loss = self._gradients(rows, int(generator(recipe.seed, epoch, number).integers(2**63)))
            rate = recipe.learning_rate * schedule(number, last, recipe.warmup_ratio)
            with self.watch("optimizer"):
                self.optimizer.step(rate, recipe.max_grad_norm)
            tokens = int(self.tokens.lengths[rows].sum())
            yield Step(epoch, number, last, loss, rate, tokens, ends_epoch=index + 1 == self.steps_per_epoch)

    def _gradients(self, rows: Ints, key: int) -> torch.Tensor:
        """Leave the gradient of the mean loss of texts `rows` in the parameters; return the loss."""
        ordered, cuts = cut(rows, self.tokens.lengths, self.shards)
        mine = self.shards // self.world.size
        each = 1 if self.apart and self.recipe.exact else mine // self.recipe.gradient_accumulation_steps
        firsts = range(self.world.rank * mine, (self.world.rank + 1) * mine, each)
        assert isinstance(self.optimizer, FlatAdamW)  # noqa: S101
        flat, tail = self.optimizer.gradient, self.optimizer.tail
        room = slots(self.inputs.lengths[ordered], cuts, self.longest) if self.fills else None
        passes = (self.pass_alone(ordered, cuts[first : first + each + 1], key, first, room) for first in firsts)
        if len(firsts) > 1:
            flat.copy_(tree_sum(gradient.clone() for gradient in passes))
        else:
            next(passes)
        with self.watch("reduce"):
            self.world.sum(flat)
        if len(firsts) * self.world.size > 1:
            self.layout.used.clear()  # others may have had other words
        return flat[tail].clone()

    def pass_alone(self, ordered: Ints, cuts: Ints, key: int, shard: int, room: Slots | None) -> torch.Tensor:
        """The optimizer's vector of gradients after a pass, with the pass's loss in its place."""
        assert isinstance(self.optimizer, FlatAdamW)  # noqa: S101
        self.optimizer.gradient[self.optimizer.tail] = self._pass(ordered, cuts, key, shard, room)
        return self.optimizer.gradient

    def _pass(self, ordered: Ints, cuts: Ints, key: int, shard: int, room: Slots | None) -> torch.Tensor:
        """Leave the gradient of shards from `shard` on in the parameters; return their part of the mean loss."""
        with self.watch("data"):
            rows = ordered[cuts[0] : cuts[-1]]
            texts = fill(rows, self.inputs.lengths[rows], cuts - cuts[0], room)
            batch = self._batch(texts, len(ordered)) if len(texts.rows) else None  # a last batch may have few texts
            self.layout.set(batch.lengths if batch else [], texts.cuts.tolist(), key, shard)
        with self.watch("forward and backward"):
            torch.manual_seed(key + shard)  # for chance that is no nn.Dropout, in architectures of their own
            losses = self.compute(batch) if batch else self._nothing()
        return tree_sum(losses[first:end].sum() for first, end in pairwise(texts.cuts.tolist()))

    def _batch(self, texts: Texts, count: int) -> Batch:
        batch = lay_out(self.inputs, texts.rows, self.model, texts.lengths)
        batch.shares, batch.longest = send(texts.real / np.float32(count), self.layout.device), self.longest
        return batch

    def _compute(self, batch: Batch) -> torch.Tensor:
        """Leave the gradient of a batch in the parameters; return its texts' shares of the mean loss, (n,)."""
        with written(self.optimizer.trained.values(), self.layout):
            losses = self._losses(batch) * batch.shares
            with self.layout.aside.shared():
                losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def _nothing(self) -> torch.Tensor:
        with written(self.optimizer.trained.values(), self.layout):
            return torch.empty(0, device=self.layout.device)

    def _losses(self, batch: Batch) -> torch.Tensor:
        """Each text's loss, nats, (n,)."""
        self.model.train()
        with torch.autocast(self.layout.device.type, torch.bfloat16, enabled=self.layout.products == torch.bfloat16):
            logits = self.model(**batch.inputs).logits
        return self.loss(logits.float(), batch.labels)
