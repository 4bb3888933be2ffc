"""Dropout whose mask is a function of step, shard, module and position, not of the process that holds the shard."""

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
        if x[..., 0].numel() in self.context.shard_sizes:
            return x * dropout_mask(x, self.p, self.site, self.context)
        if self.context.exact:
            raise InputError(f"{tuple(x.shape)}: no row for each token is dropped here: set train.exact to false")
        return nn.functional.dropout(x, self.p, training=True)  # by torch's generator, which each pass seeds


def replace_dropout(model: nn.Module, context: ShardContext) -> None:
    """Replace each nn.Dropout by ours, in the model's order."""
    found = [name for name, module in model.named_modules() if type(module) is nn.Dropout]
    for site, name in enumerate(found):
        model.set_submodule(name, ShardedDropout(model.get_submodule(name).p, site, context))  # type: ignore[arg-type]
