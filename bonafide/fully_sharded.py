"""A model too large for one device: weights, gradients and moments in parts, one a rank (torch's FSDP2).

A checkpoint is one file of plain tensors a rank, `rank-<r>-of-<w>.safetensors`; any number of ranks can load it.
Every forward, backward and `full_state` is a collective: all ranks call them, equally often.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's, beside `step`


def shard(model: nn.Module) -> nn.Module:
    """Split each layer and the rest over all ranks, in place; before the optimiser is built, after `.to(device)`.

    The ranks' weights must be equal. They stay fp32; on CUDA layers compute in bf16 and gradients are summed in fp32.
    """
    device = next(model.parameters()).device.type
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    bf16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32)
    policy = bf16 if device == "cuda" else MixedPrecisionPolicy()
    for layer in _layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return model


def _layers(model: Any) -> nn.ModuleList:
    """The list of the encoder's layers: a unit of communication each, so that one at a time is whole."""
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    return next(layers for layers in lists if len(layers) == model.config.num_hidden_layers)


def local_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return this rank's part of weights and AdamW's state under flat names, on the CPU, ready for safetensors."""
    state: dict[str, Tensor] = {f"model.{name}": tensor for name, tensor in _tensors(model).items()}
    for name, parameter in model.named_parameters():
        state |= {f"{key}.{name}": tensor for key, tensor in optimizer.state.get(parameter, {}).items()}
    return {name: _local(tensor).to("cpu", copy=True) for name, tensor in state.items()}


def load_state(model: nn.Module, optimizer: torch.optim.Optimizer, parts: Sequence[Mapping[str, Tensor]]) -> None:
    """Bring back what all ranks of the saving world wrote, given in their order; the present world may differ."""
    for name, tensor in _tensors(model).items():
        _restore(tensor, [part[f"model.{name}"] for part in parts])
    for name, parameter in model.named_parameters():
        if f"step.{name}" not in parts[0]:  # never had a gradient
            continue
        state = optimizer.state[parameter]
        # where AdamW keeps it: on the CPU unless fused or capturable
        own_device = any(optimizer.defaults[option] for option in ("fused", "capturable"))
        state["step"] = parts[0][f"step.{name}"].to(parameter.device if own_device else "cpu", copy=True)
        for moment in MOMENTS:
            state[moment] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            _restore(state[moment], [part[f"{moment}.{name}"] for part in parts])


def full_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the whole weights on rank 0's CPU, for `save_pretrained(state_dict=...)`; empty on other ranks."""
    whole: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if dist.get_rank() == 0:
            whole[name] = full.to("cpu", copy=True)
    return whole


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, tied ones once, and the buffers that belong to a checkpoint."""
    kept = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in kept}
    return dict(model.named_parameters()) | buffers


def _local(tensor: Tensor) -> Tensor:
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()


@torch.no_grad()
def _restore(tensor: Tensor, parts: list[Tensor]) -> None:
    """Put this rank's rows of the parts, joined, into `tensor`; what is not split is equal on all ranks."""
    if not isinstance(tensor, DTensor):
        tensor.copy_(parts[0])
        return
    whole = torch.cat(parts).to(tensor.device)
    if whole.shape != tensor.shape:
        raise ValueError(f"checkpoint has {list(whole.shape)}, model {list(tensor.shape)}: a rank's part is missing")
    own = distribute_tensor(whole, tensor.device_mesh, tensor.placements, src_data_rank=None)
    tensor.to_local().copy_(own.to_local())
