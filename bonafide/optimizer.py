"""The update: fused AdamW, clipped within its own pass over the weights, and its state as plain tensors."""

from collections.abc import Collection

import torch
from torch import nn

State = dict[str, torch.Tensor]


def build_optimizer(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW that decays matrices only: not biases, normalisation (Devlin et al. 2019, A.2) or embeddings.

    A decayed embedding would shrink the words that no text uses, and could not be trained on the used ones alone.
    """
    rows = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.ndim > 1 and id(p) not in rows]
    others = [p for p in trained if p.ndim <= 1 or id(p) in rows]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, fused=True)


def update(optimizer: torch.optim.Optimizer, rate: float, max_grad_norm: float) -> None:
    """One step at learning rate `rate`, the gradient's global norm cut to `max_grad_norm`; no gradient is left.

    The fused kernel divides by `grad_scale` as it reads the gradient: no pass of its own, no wait for the norm.
    """
    grads: list[torch.Tensor] = []
    for group in optimizer.param_groups:
        group["lr"] = rate
        for p in group["params"]:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad  # decayed all the same, in parts or not
            grads.append(p.grad)
    norm = nn.utils.get_total_norm(grads)
    optimizer.grad_scale = (norm / max_grad_norm).clamp(min=1.0)  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def flatten(trained: Collection[nn.Parameter], loss: torch.Tensor) -> torch.Tensor:
    """Take the gradients out of the parameters: one fp32 vector, zeros where there is none, and the loss at its end."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    for p in trained:
        p.grad = None
    return torch.cat([part.flatten() for part in parts] + [loss.view(1)])


def unflatten(trained: Collection[nn.Parameter], flat: torch.Tensor) -> torch.Tensor:
    """Put the gradients of `flatten` back as views; return the loss."""
    for p, part in zip(trained, torch.split(flat[:-1], [p.numel() for p in trained]), strict=True):
        p.grad = part.view_as(p)
    return flat[-1]


def state(trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> State:
    """The weights and their two moments by name, as they are: not copied."""
    found: State = {}
    for name, p in trained.items():
        moments = optimizer.state[p]
        found |= {f"weight.{name}": p.detach()}
        found |= {f"{key}.{name}": moments[key] for key in ("exp_avg", "exp_avg_sq") if key in moments}
    return found


@torch.no_grad()
def load_state(trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, saved: State, step: int) -> None:
    """Put what `state` gave after `step` steps back in place."""
    for name, p in trained.items():
        p.copy_(saved[f"weight.{name}"])
        moments = {key: saved[f"{key}.{name}"].to(p.device).clone() for key in ("exp_avg", "exp_avg_sq")}
        optimizer.state[p] = {"step": torch.tensor(float(step), device=p.device if p.is_cuda else None), **moments}
