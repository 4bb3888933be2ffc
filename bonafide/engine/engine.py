"""The training loop, one optimiser step after another; a step is a pure function of (weights, seed, step).

It knows neither files nor MLflow nor signals: `Engine.steps` yields facts, and `training` decides what to keep and when
to stop. Nothing but an integer is needed to go on after an interruption: steps start at any number.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from bonafide.engine import batch_statistics
from bonafide.engine.activation_cache import ActivationCache
from bonafide.engine.hyperparameters import Recipe, Step, partition_by_tokens, schedule
from bonafide.engine.optimizer import FlatAdamW, Optimizer
from bonafide.engine.process_group import ProcessGroup
from bonafide.engine.shard_bit_identity import try_sharing_a_pass
from bonafide.engine.shards.dropout import ShardedDropout
from bonafide.engine.shards.grad_overlap import GradOverlap, mostly_trained
from bonafide.engine.shards.grad_writer import GradWriter
from bonafide.engine.shards.matmul_policy import MatmulPolicy, find_min_invariant_rows, matmul_dtype
from bonafide.engine.shards.module_patching import find_tied, install_grad_ops
from bonafide.engine.shards.shard_context import ShardContext, are_told_apart, tree_sum
from bonafide.forward.network import Batch, Examples, Network
from bonafide.project.arrays import Ints
from bonafide.project.randomness import generator

Timer = Callable[[str], AbstractContextManager[None]]  # times a phase: with timer("optimizer"): ...


class Engine:
    """A model in training: its optimizer, its shards, and the group of processes that share the work.

    A step's batch is cut into shards. Each process computes its own, in `gradient_accumulation_steps` passes or, where
    shards that share a pass would have other bits, in one pass a shard. The passes' gradients are added as a tree, and
    then those of the processes.
    """

    def __init__(
        self, model: Any, examples: Examples, task: Network, recipe: Recipe, group: ProcessGroup, timer: Timer
    ) -> None:
        """Make the model take packed batches, and shards in one pass, where it can; `describe` says why it does not."""
        self.model, self.task = model, task
        self.given = examples
        self.examples = self.inputs = task.at_epoch(examples, recipe.seed, 1)
        """Of the present epoch: `examples` as batches and shards are cut, `inputs` as the model reads them."""
        self.recipe, self.group, self.timer = recipe, group, timer
        self.device = next(model.parameters()).device
        self.padding_reason = task.enable(model)
        """Why batches are padded; empty where they are packed."""
        self.packed = not self.padding_reason
        self.shards = recipe.shards if recipe.exact else group.size * recipe.gradient_accumulation_steps
        self.context, self.matmul = ShardContext(), MatmulPolicy()
        self.dropout = ShardedDropout(model, self.context)
        self.separation_reason = "" if self.packed else "padded rows depend on the longest text"
        """Why each shard has a pass of its own where sums must be exact; empty where several share one."""
        self.optimizer: Optimizer = self._prepare_model()
        self.steps_per_epoch = -(-len(self.examples) // recipe.batch_size)

    def _prepare_model(self) -> Optimizer:
        """Patch the model: gradients written in place, frozen layers cached, trained weights in one flat vector."""
        model, context = self.model, self.context
        if batch_statistics.trained_norms(model):
            self.separation_reason = "batch normalisation is over each"
            batch_statistics.check_shards(len(self.examples), self.recipe.batch_size, self.shards)
        context.exact = self.packed and self.recipe.exact and self.shards > 1 and not self.separation_reason
        overlaps = self.packed and self.device.type != "cuda" and mostly_trained(model)
        overlap = GradOverlap(torch.get_num_threads() if overlaps else 1)
        self.writer, self.matmul = GradWriter(context, overlap), self._choose_matmul(overlap)
        unmanaged = install_grad_ops(model, context, self.writer, self.matmul) if self.packed else []
        if unmanaged and context.exact:
            self.separation_reason = f"{unmanaged[0]} holds weights beside modules"
        self.activation_cache = ActivationCache(model, self.examples, packed=self.packed)
        self.inputs = self.activation_cache.add_to(self.examples)
        self.optimizer = optimizer = FlatAdamW(model, self.recipe, find_tied(model, self.writer))
        self.reduce_buffer, self.loss_slot = optimizer.reduce_buffer, optimizer.loss_slot
        self.writer.lookup_grads = optimizer.lookup_grads
        if self.matmul.dtype != torch.float32:
            self.matmul.low_precision_weights = optimizer.keep_low_precision(model, self.matmul.dtype)
        if self.packed and not self.separation_reason:
            self.separation_reason = try_sharing_a_pass(self)
        if self.separation_reason:
            context.exact = False  # within a pass, which has one shard
            self.writer.leave(self.writer.copied)
        return optimizer

    def _choose_matmul(self, overlap: GradOverlap) -> MatmulPolicy:
        is_cuda, policy = self.device.type == "cuda", MatmulPolicy()
        if self.packed or is_cuda:  # autocast to bf16 is worth it on a CPU in packed batches only
            policy.dtype = matmul_dtype(self.recipe.precision, is_cuda=is_cuda)
        if self.context.exact:
            rows = round(self.examples.lengths.mean() * self.recipe.batch_size)
            policy.min_invariant_rows = find_min_invariant_rows(self.model, rows, overlap, policy.dtype)
        return policy

    def describe(self) -> str:
        """How batches are laid out and gradients summed, and why not otherwise: one line."""
        batches = f"padded batches ({self.padding_reason})" if self.padding_reason else "packed batches"
        if not self.recipe.exact:
            return f"{batches}, sums not exact (train.exact is false)"
        return f"{batches}, exact sums" + (
            f", each of {self.shards} shards a pass of its own ({self.separation_reason})"
            if self.separation_reason
            else ""
        )

    def steps(self, done: int = 0) -> Iterator[Step]:
        """Train in place from step `done` + 1 on, yielding after each step."""
        recipe, last = self.recipe, self.steps_per_epoch * self.recipe.epochs
        order = np.empty(0, dtype=np.int64)
        for number in range(done + 1, last + 1):
            epoch, index = (number - 1) // self.steps_per_epoch + 1, (number - 1) % self.steps_per_epoch
            if index == 0 or not len(order):
                order = self._begin_epoch(epoch)
            rows = order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
            loss = self._compute_gradients(rows, int(generator(recipe.seed, epoch, number).integers(2**63)))
            lr = recipe.learning_rate * schedule(number, last, recipe.warmup_ratio, recipe.schedule)
            with self.timer("optimizer"):
                self.optimizer.step(lr, recipe.max_grad_norm)
            tokens = int(self.examples.lengths[rows].sum())
            yield Step(epoch, number, last, loss, lr, tokens, ends_epoch=index + 1 == self.steps_per_epoch)

    def _begin_epoch(self, epoch: int) -> Ints:
        """The order of an epoch's examples, which are cut or masked for it."""
        anew = self.task.at_epoch(self.given, self.recipe.seed, epoch)
        self.inputs = anew if self.inputs is self.examples else self.inputs  # or with what the frozen layers give
        self.examples = anew
        return generator(self.recipe.seed, epoch).permutation(len(anew))

    def _compute_gradients(self, rows: Ints, rng_key: int) -> torch.Tensor:
        """Leave the gradient of the mean loss of texts `rows` in the parameters; return the loss."""
        ordered, shard_offsets = partition_by_tokens(rows, self.examples.lengths, self.shards)
        own = self.shards // self.group.size
        alone = self.separation_reason and self.recipe.exact
        per_pass = 1 if alone else own // self.recipe.gradient_accumulation_steps
        firsts = range(self.group.rank * own, (self.group.rank + 1) * own, per_pass)
        passes = (self.run_pass(ordered, shard_offsets[i : i + per_pass + 1], rng_key, i) for i in firsts)
        if len(firsts) > 1:
            self.reduce_buffer.copy_(tree_sum(buffer.clone() for buffer in passes))
        else:
            next(passes)
        with self.timer("reduce"):
            self.group.all_reduce(self.reduce_buffer)
        if len(firsts) * self.group.size > 1:
            self.writer.nonzero_rows.clear()  # others may have had other words
        self.writer.add_lookups()
        return self.reduce_buffer[self.loss_slot].clone()

    def run_pass(self, ordered: Ints, shard_offsets: Ints, rng_key: int, first_shard: int) -> torch.Tensor:
        """The reduce buffer after one pass over the shards that `shard_offsets` cuts out of a step's examples.

        Where their rows cannot be told apart it is a pass for each, whose sum has the same bits.
        """
        with self.timer("data"):
            rows = ordered[shard_offsets[0] : shard_offsets[-1]]
            few = not len(rows)  # of a last batch some processes may have none
            batch = None if few else self.task.collate(self.inputs, rows, self.model)
            offsets, units = (shard_offsets - shard_offsets[0]).tolist(), self._units(ordered)
        row_counts = batch.row_counts if batch else []
        if not are_told_apart(row_counts, offsets):
            return self._run_apart(ordered, shard_offsets, rng_key, first_shard)
        with self.timer("forward and backward"):
            self._seed(rng_key + first_shard)
            with (
                self.dropout.active(),
                self.context.shards(row_counts, offsets, rng_key, first_shard),
                self.writer.one_pass(self.optimizer.trained.values()),
            ):
                losses = self._forward_backward(batch, units) if batch else self.reduce_buffer.new_empty(0)
        loss = tree_sum(losses[start:end].sum() for start, end in pairwise(offsets))
        self.reduce_buffer[self.loss_slot] = loss
        return self.reduce_buffer

    def _seed(self, key: int) -> None:
        """Seed randomness other than dropout; `torch.manual_seed` would note a stack for each device there is not."""
        torch.default_generator.manual_seed(key)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(key)

    def _units(self, ordered: Ints) -> int:
        """What the loss of a step is over; 1 where nothing is masked, and the loss 0."""
        return max(1, int(self.examples.units[ordered].sum()))

    def _run_apart(self, ordered: Ints, shard_offsets: Ints, rng_key: int, first_shard: int) -> torch.Tensor:
        """As `run_pass`, by a pass for each shard."""
        pairs = enumerate(pairwise(shard_offsets), start=first_shard)
        passes = (self.run_pass(ordered, np.array(ends), rng_key, shard).clone() for shard, ends in pairs)
        self.reduce_buffer.copy_(tree_sum(passes))
        self.writer.nonzero_rows.clear()  # each had other words
        return self.reduce_buffer

    def _forward_backward(self, batch: Batch, units: int) -> torch.Tensor:
        """Leave the gradient of a batch in the parameters; return its parts of the mean loss of `units`, (n,)."""
        losses = self._losses(batch) * (1 / units)
        with self.writer.overlap.active():
            losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def _losses(self, batch: Batch) -> torch.Tensor:
        """The sum of each example's losses, (n,)."""
        batch_statistics.train_mode(self.model)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.matmul.dtype == torch.bfloat16):
            outputs = self.model(**batch.inputs)
        return self.task.loss(outputs, batch)  # type: ignore[no-any-return]
