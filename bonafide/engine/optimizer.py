"""AdamW over one flat vector of all trained weights: the model's parameters and their gradients are views of it.

So an update is one kernel instead of a hundred, the gradient's norm one pass over memory, and the sum over processes
one message. The matrices within stacked layers may be Muon's, one by one; then they come first in the vector.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Protocol

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from bonafide.engine.hyperparameters import Recipe

State = dict[str, torch.Tensor]
MOMENTS = ("exp_avg", "exp_avg_sq")
ALIGNMENT = 16  # floats: each weight begins at a cache line
NORM_CHUNK = 4096  # floats: the norm is that of the norms of chunks, so that fp32 is exact enough for millions of them


class Optimizer(Protocol):
    """What a training needs of one, whether it holds all weights or a process's rows of them."""

    trained: dict[str, nn.Parameter]

    def step(self, lr: float, max_norm: float) -> None:
        """One update at learning rate `lr`, the gradient's global norm clipped to `max_norm`."""

    def state(self) -> State:
        """The weights and their two moments by name: the tensors themselves, not copies."""

    def load(self, saved: State, step: int) -> None:
        """Put what `state` gave after `step` steps back in place."""


def decayed(model: nn.Module) -> set[str]:
    """Names of the weights that decay: no biases, normalisation (Devlin et al. 2019, A.2) or embeddings.

    A decayed embedding would shrink the words that no text uses, and could not be trained on the used ones alone.
    """
    tables = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    return {name for name, p in model.named_parameters() if p.ndim > 1 and id(p) not in tables}


def hidden_matrices(model: nn.Module) -> dict[torch.Tensor, bool]:
    """Weights of linear layers and convolutions within lists of layers, and whether inputs come first.

    No tables, heads or norms, nor convolutions of each channel by itself, which are no matrices.
    """
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    inner = [m for stack in lists for m in stack.modules() if isinstance(m, nn.Linear | Conv1D | nn.Conv2d)]
    found = [m for m in inner if getattr(m, "groups", 1) == 1]
    return {m.weight: isinstance(m, Conv1D) for m in found if m.weight.requires_grad}


class FlatAdamW:
    """Fused AdamW over one vector of weights; or over its end, its beginning being Muon's (Jordan et al. 2024)."""

    def __init__(self, model: nn.Module, recipe: Recipe, tied: Sequence[nn.Parameter] = ()) -> None:
        """Move the trained weights of `model` into one vector: Muon's first, then those that decay."""
        self.recipe, decays = recipe, decayed(model)
        matrices = hidden_matrices(model) if recipe.optimizer == "muon" else {}
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        named.sort(key=lambda item: (item[1] not in matrices, item[0] not in decays))
        self.trained: dict[str, nn.Parameter] = dict(named)
        sizes = [-(-p.numel() // ALIGNMENT) * ALIGNMENT for _, p in named]
        self._starts = [0, *accumulate(sizes)]
        undecayed, end = self._starts[sum(name in decays for name in self.trained)], self._starts[-1]
        self._adam = adam = self._starts[sum(p in matrices for _, p in named)]
        device = named[0][1].device
        self.loss_slot, norm_end = end, (end // NORM_CHUNK + 1) * NORM_CHUNK
        ends = [norm_end, *accumulate((p.numel() for p in tied), initial=norm_end)][1:]
        self.reduce_buffer = torch.zeros(ends[-1], device=device)
        """All gradients, fp32, after them the loss, at `loss_slot`, and then what is added to the gradients of `tied`
        weights afterwards: what processes sum in one all-reduce."""
        self._grads = self.reduce_buffer[:norm_end]
        parts = (self.reduce_buffer[start:stop] for start, stop in pairwise(ends))
        self.lookup_grads = {p: part.view(p.shape) for p, part in zip(tied, parts, strict=True)}
        self._weights = torch.zeros(end, device=device)
        self._low_precision: torch.Tensor | None = None
        self.moments = {name: torch.zeros(end, device=device) for name in MOMENTS}
        for (_, p), weight, grad in zip(
            named, self._views(self._weights), self._views(self.reduce_buffer), strict=True
        ):
            p.data, p.grad = weight.copy_(p.data), grad
        self._muon = self._build_muon(matrices) if matrices else None
        halves = [(slice(adam, undecayed), recipe.weight_decay), (slice(undecayed, end), 0.0)]
        self._optimizer = self._build([half for half in halves if half[0].start < half[0].stop])

    def _build(self, halves: list[tuple[slice, float]]) -> torch.optim.AdamW:
        """Torch's AdamW over slices of the vectors, each with its weight decay."""
        vectors = [nn.Parameter(self._weights[half]) for half, _ in halves]
        groups = [{"params": [p], "weight_decay": decay} for p, (_, decay) in zip(vectors, halves, strict=True)]
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=self.recipe.betas, eps=self.recipe.epsilon, fused=True)
        for p, (half, _) in zip(vectors, halves, strict=True):
            p.grad = self.reduce_buffer[half]
            optimizer.state[p] = {name: moment[half] for name, moment in self.moments.items()}
            optimizer.state[p]["step"] = torch.zeros((), device=p.device if p.is_cuda else None)
        return optimizer

    def _build_muon(self, matrices: dict[torch.Tensor, bool]) -> torch.optim.Muon:
        """Torch's Muon over matrices (outputs, inputs), its momenta in the place of AdamW's first moments.

        Those of a convolution have as many inputs as a patch has numbers.
        """
        states = zip(self.trained.values(), self._views(self.moments["exp_avg"]), strict=True)
        held = [(p, p.grad, momentum) for p, momentum in states if p in matrices and p.grad is not None]
        views = [[x.detach().t() if matrices[p] else x.detach().flatten(1) for x in (p, *rest)] for p, *rest in held]
        optimizer = torch.optim.Muon([nn.Parameter(p) for p, *_ in views], weight_decay=self.recipe.weight_decay)
        for p, (_, grad, momentum) in zip(optimizer.param_groups[0]["params"], views, strict=True):
            p.grad = grad
            optimizer.state[p] = {"momentum_buffer": momentum}
        return optimizer

    def _views(self, flat: torch.Tensor) -> Iterator[torch.Tensor]:
        """Each trained weight's place in a vector, in its shape."""
        for start, p in zip(self._starts, self.trained.values(), strict=False):
            yield flat[start : start + p.numel()].view(p.shape)

    def keep_low_precision(self, model: nn.Module, dtype: torch.dtype) -> dict[nn.Parameter, torch.Tensor]:
        """From now on keep the weights in `dtype` too, cast by one kernel after each update, not one a weight and use.

        Returns each trained weight's view of that copy; of the frozen weights of linear layers, copies.
        """
        self._low_precision = self._weights.to(dtype)
        linear = [p for m in model.modules() if isinstance(m, nn.Linear | Conv1D) for p in m.parameters(recurse=False)]
        views = zip(self.trained.values(), self._views(self._low_precision), strict=True)
        return {p: p.detach().to(dtype) for p in linear if not p.requires_grad} | dict(views)

    def _refresh(self) -> None:
        if self._low_precision is not None:
            self._low_precision.copy_(self._weights)

    def step(self, lr: float, max_norm: float) -> None:
        """One update at learning rate `lr`, the gradient's global norm clipped to `max_norm`.

        The fused kernel divides by `grad_scale` as it reads the gradient: no pass of its own, no wait for the norm.
        """
        self._grads[self.loss_slot :] = 0
        norm = torch.linalg.vector_norm(torch.linalg.vector_norm(self._grads.view(-1, NORM_CHUNK), dim=1))
        self._optimizer.grad_scale = scale = (norm / max_norm).clamp(min=1.0)  # type: ignore[attr-defined]
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        if self._muon:
            self._muon.param_groups[0]["lr"] = lr * self.recipe.muon_learning_rate / self.recipe.learning_rate
            self._grads[: self._adam].div_(scale)
            self._muon.step()  # type: ignore[no-untyped-call]
        self._refresh()

    def state(self) -> State:
        """The weights and their two moments by name: the tensors themselves, not copies; Muon's have one, and zeros."""
        found: State = {f"weight.{name}": p.detach() for name, p in self.trained.items()}
        for key, moment in self.moments.items():
            found |= {f"{key}.{name}": view for name, view in zip(self.trained, self._views(moment), strict=True)}
        return found

    @torch.no_grad()
    def load(self, saved: State, step: int) -> None:
        """Put what `state` gave after `step` steps back in place."""
        for name, tensor in self.state().items():
            tensor.copy_(saved[name])
        for moments in self._optimizer.state.values():
            moments["step"].fill_(step)
        self._refresh()

    def release(self) -> None:
        """Give each weight a storage of its own again, as what saves a model wants it, and no gradient."""
        for p in self.trained.values():
            p.data, p.grad = p.data.clone(), None
