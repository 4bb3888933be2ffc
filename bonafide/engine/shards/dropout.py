"""Dropout whose mask is a function of step, shard, place in the model and position in it, not of the process.

All dropout is calls of nn.functional.dropout, by nn.Dropout or, as in decoders with an encoder, by layers. A place is
the module's number among its like, or a layer's number and which of its calls it is: the same if activation
checkpointing runs a layer again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from bonafide.engine.shards.shard_context import ShardContext
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


class ShardedDropout:
    """`nn.functional.dropout` with `dropout_mask`, while `active`."""

    def __init__(self, model: nn.Module, context: ShardContext) -> None:
        """Number each nn.Dropout, in the model's order from 0, and each module that has a share to drop itself."""
        self.context, self._site = context, 0
        modules = [*model.modules()]
        for site, dropout in enumerate(m for m in modules if type(m) is nn.Dropout):
            self._begin_at(site, dropout)
        for number, module in enumerate(modules, start=1):
            if any("drop" in name and isinstance(value, float) and value for name, value in vars(module).items()):
                self._begin_at(number << 32, module)

    def _begin_at(self, site: int, module: Any) -> None:
        """Have the module's calls be those at `site` and after it."""
        run = partial(self._run, site)
        module.forward = partial(run, module.forward)
        checkpoint = getattr(module, "_gradient_checkpointing_func", None)  # which runs the class's forward again
        if checkpoint:
            module._gradient_checkpointing_func = lambda function, *args: checkpoint(partial(run, function), *args)  # noqa: SLF001

    def _run(self, site: int, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        before, self._site = self._site, site
        try:
            return forward(*args, **kwargs)
        finally:
            self._site = before

    def __call__(self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:  # noqa: A002, ARG002, FBT001, FBT002 - torch's
        """Zero a share of the elements and scale the others up, in training only."""
        if not (training and p):
            return input
        site, self._site = self._site, self._site + 1
        if self.context.knows(input):
            return input * dropout_mask(input, p, site, self.context)
        if self.context.exact:
            raise InputError(f"{tuple(input.shape)}: no row for each token is dropped here: set train.exact to false")
        return torch.dropout(input, p, train=True)  # by torch's generator, which each pass seeds

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within a pass."""
        stock, self._site = nn.functional.dropout, 1 << 63
        nn.functional.dropout = self
        try:
            yield
        finally:
            nn.functional.dropout = stock
