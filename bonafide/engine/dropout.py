"""Dropout whose mask is a function of step, shard, place in the model and position in it, not of the process.

A model drops by modules, nn.Dropout, or by calls of nn.functional.dropout, as decoders with an encoder do. A place is
the module's number, or the number of the module that calls and which of its calls it is: the same if activation
checkpointing runs a layer again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from bonafide.engine.shard_context import ShardContext
from bonafide.project.errors import InputError


def dropout_mask(x: torch.Tensor, p: float, site: int, context: ShardContext) -> torch.Tensor:
    """What to multiply x (..., d) by to drop a share `p` of it: 0 or 1 / (1 - p), in x's shape and dtype.

    Philox, counter-based (Salmon et al. 2011), a stream for each shard and site, 16 bits an element: `p` is met to
    2^-16. Drawn on the host and sent to the device, so that it is the same on every one.
    """
    threshold = round(p * 65536)
    width = x.shape[-1]
    words = []
    for shard, rows in enumerate(context.sizes_of(x), start=context.first_shard):
        stream = np.random.Philox(key=[context.rng_key, shard], counter=[0, 0, 0, site])
        count = rows * width
        words.append(stream.random_raw(-(-count // 4)).view(np.int16)[:count])
    kept = torch.from_numpy(np.concatenate(words)).to(x.device).float()  # `where` on int16 takes 12 times as long
    return kept.ge_(threshold - 32768).mul_(65536 / (65536 - threshold)).to(x.dtype).view_as(x)


class ShardedDropout(nn.Module):
    """nn.Dropout with `dropout_mask`."""

    def __init__(self, p: float, site: int, context: ShardContext) -> None:
        """Drop with probability `p`; `site` tells the model's dropouts apart."""
        super().__init__()
        self.p, self.site, self.context = p, site, context

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with dropped elements zero and the others scaled up, in training only."""
        if not (self.training and self.p):
            return x
        return _drop(x, self.p, self.site, self.context)


def _drop(x: torch.Tensor, p: float, site: int, context: ShardContext) -> torch.Tensor:
    if context.knows(x):
        return x * dropout_mask(x, p, site, context)
    if context.exact:
        raise InputError(f"{tuple(x.shape)}: no row for each token is dropped here: set train.exact to false")
    return torch.dropout(x, p, train=True)  # by torch's generator, which each pass seeds


class FunctionalDropout:
    """`nn.functional.dropout` with `dropout_mask`, while `active`."""

    def __init__(self, model: nn.Module, context: ShardContext) -> None:
        """Number the modules that have a share to drop and are no nn.Dropout: their calls are counted one by one."""
        self.context, self._calls = context, [[0, 0]]
        for number, module in enumerate(model.modules(), start=1):
            shares = [value for name, value in vars(module).items() if "drop" in name and isinstance(value, float)]
            if any(shares):
                module.register_forward_pre_hook(lambda *_, number=number: self._calls.append([number, 0]))
                module.register_forward_hook(lambda *_: self._leave(), always_call=True)

    def _leave(self) -> None:
        self._calls.pop()

    def __call__(self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:  # noqa: A002, ARG002, FBT001, FBT002 - torch's
        """Drop by torch's names."""
        if not (training and p):
            return input
        self._calls[-1][1] += 1
        number, call = self._calls[-1]
        return _drop(input, p, (number << 32) + call, self.context)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within a pass."""
        stock, self._calls = nn.functional.dropout, [[0, 0]]
        nn.functional.dropout = self
        try:
            yield
        finally:
            nn.functional.dropout = stock


def replace_dropout(model: nn.Module, context: ShardContext) -> None:
    """Replace each nn.Dropout by ours, in the model's order."""
    found = [name for name, module in model.named_modules() if type(module) is nn.Dropout]
    for site, name in enumerate(found):
        model.set_submodule(name, ShardedDropout(model.get_submodule(name).p, site, context))  # type: ignore[arg-type]
