"""A model too large for one device: each process holds its rows of weights, gradients and moments (torch's FSDP2).

Every forward and backward is a collective, so all processes run equally many, with texts or without. The optimizer
sees plain tensors, this process's rows of each: torch splits the first dimension into as many pieces as there are
processes, of `ceil(n / processes)` rows until they are used up. One process alone holds all rows, as an engine does.
"""

import warnings
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from bonafide.engine.activation_cache import ActivationCache
from bonafide.engine.engine import Engine
from bonafide.engine.hyperparameters import Recipe, partition_by_tokens
from bonafide.engine.optimizer import MOMENTS, State, decayed
from bonafide.engine.process_group import ProcessGroup, lost_peer_errors
from bonafide.engine.shards.matmul_policy import MatmulPolicy
from bonafide.forward.packed_attention import layers
from bonafide.project.arrays import Ints


class RowsAdamW:
    """Fused AdamW over this process's rows, plain tensors in the memory of the model's own parameters."""

    def __init__(
        self, parameters: dict[str, nn.Parameter], decays: set[str], recipe: Recipe, group: ProcessGroup
    ) -> None:
        """Begin with moments of zero."""
        self.group = group
        self.trained = {name: nn.Parameter(local_rows(p)) for name, p in parameters.items()}
        groups = [
            {"params": [p for name, p in self.trained.items() if (name in decays) == does], "weight_decay": decay}
            for does, decay in ((True, recipe.weight_decay), (False, 0.0))
        ]
        groups = [group for group in groups if group["params"]]
        self._optimizer = torch.optim.AdamW(groups, lr=0.0, betas=recipe.betas, fused=True)
        for p in self.trained.values():
            moments = {name: torch.zeros_like(p) for name in MOMENTS}
            self._optimizer.state[p] = moments | {"step": torch.zeros((), device=p.device if p.is_cuda else None)}

    def step(self, lr: float, max_norm: float) -> None:
        """As FlatAdamW's, by the norm of the whole gradient: of all processes' rows."""
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = lr
        grads = [p.grad for p in self.trained.values() if p.grad is not None]
        norm = self.group.all_reduce(nn.utils.get_total_norm(grads).square()).sqrt()
        self._optimizer.grad_scale = (norm / max_norm).clamp(min=1.0)  # type: ignore[attr-defined]
        self._optimizer.step()

    def state(self) -> State:
        """Our rows of the weights and their two moments by name, as they are: not copied."""
        found: State = {f"weight.{name}": p.detach() for name, p in self.trained.items()}
        for name, p in self.trained.items():
            found |= {f"{key}.{name}": self._optimizer.state[p][key] for key in MOMENTS}
        return found

    @torch.no_grad()
    def load(self, saved: State, step: int) -> None:
        """Put what `state` gave after `step` steps back in place."""
        for name, tensor in self.state().items():
            tensor.copy_(saved[name])
        for state in self._optimizer.state.values():
            state["step"].fill_(step)


class ShardedEngine(Engine):
    """An engine whose optimizer has this process's rows, in the memory of the model's own parameters."""

    def _prepare_model(self) -> RowsAdamW:
        """Shard the model; ValueError where there is no list of layers to shard. Autograd keeps the gradients."""
        self.activation_cache = ActivationCache(
            self.model, self.examples, packed=False
        )  # its forwards would be collectives
        decays = decayed(self.model)
        low = self.recipe.precision == "bf16" and torch.cuda.is_available()  # on CPUs all is fp32
        shard_model(self.model, self.group, torch.bfloat16 if low else torch.float32)
        self.device = next(self.model.parameters()).device
        self.matmul = MatmulPolicy(torch.bfloat16 if low else torch.float32)
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        return RowsAdamW(self.parameters, decays, self.recipe, self.group)

    def _compute_gradients(self, texts: Ints, rng_key: int) -> torch.Tensor:
        """Leave our rows of the gradient of the mean loss of `texts` in `trained`; return that loss, the whole one."""
        ordered, offsets = partition_by_tokens(texts, self.examples.lengths, self.shards)
        units = self._units(ordered)
        first = self.group.rank * self.recipe.gradient_accumulation_steps
        with lost_peer_errors():
            losses = [
                self._run_shard(ordered, offsets[shard : shard + 2], units, rng_key, shard)
                for shard in range(first, first + self.recipe.gradient_accumulation_steps)
            ]
        for name, p in self.parameters.items():
            mine = self.optimizer.trained[name]
            mine.grad, p.grad = torch.zeros_like(mine) if p.grad is None else local_rows(p.grad), None
        with self.timer("reduce"):
            return self.group.all_reduce(torch.stack(losses).sum())

    def _run_shard(self, ordered: Ints, offsets: Ints, units: int, rng_key: int, shard: int) -> torch.Tensor:
        """As an engine's pass; a process without texts runs the first one, for its collectives, and adds zeros."""
        texts = ordered[offsets[0] : offsets[-1]]
        with self.timer("data"):
            batch = self.task.collate(self.inputs, texts if len(texts) else ordered[:1], self.model)
        with self.timer("forward and backward"):
            torch.manual_seed(rng_key)
            with self.dropout.active(), self.context.shards(batch.row_counts, [0, len(batch.lengths)], rng_key, shard):
                loss = self._losses(batch).sum() * (len(texts) > 0) / units
                loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @torch.no_grad()
    def gather(self, weights: State) -> State:
        """Gather every process's rows `weights`: on rank 0 all of them, on the CPU; {} elsewhere. One tensor at a time.

        They replace those in training.
        """
        gathered: State = {}
        for name, p in self.parameters.items():
            self.optimizer.trained[name].copy_(weights[name])
            with lost_peer_errors():
                full = p.full_tensor() if isinstance(p, DTensor) else p
            if self.group.rank == 0:
                gathered[name] = full.detach().to("cpu", copy=True)
        return gathered


def local_rows(tensor: torch.Tensor) -> torch.Tensor:
    """Our rows of a parameter or a gradient: the same memory, without its history."""
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()


def shard_model(model: Any, group: ProcessGroup, dtype: torch.dtype) -> None:
    """Shard the embeddings, each layer and the rest, in place and onto the devices: only one of them is ever whole.

    Weights stay fp32; each is whole in the `dtype` of products only, and gradients are summed in fp32. These are sums,
    not torch's means over processes: the loss is a mean over the batch already.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if group.size == 1:
        model.to(device)
        return
    try:
        table, head = model.get_input_embeddings(), model.get_output_embeddings()
        tied = head is not None and head.weight is table.weight  # then both are the rest's
        units = [*([] if tied else [table]), *layers(model), model]
    except IndexError:
        raise ValueError(f"{model.config.model_type} has no layers to shard: set train.sharding to none") from None
    low = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, output_dtype=torch.float32)
    policy = MixedPrecisionPolicy() if dtype == torch.float32 else low
    mesh = init_device_mesh(device, (group.size,))
    warnings.filterwarnings("ignore", "FSDP2-wrapped module")  # the last layer's first rows, a view: none writes there
    for unit in units:
        fully_shard(unit, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)
