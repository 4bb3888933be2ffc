"""The same bytes from any number of processes: a step is cut into fixed shards, whose sums are added as a tree.

Floating-point sums depend on their order, so a gradient computed by two processes differs from one computed by one.
Here every sum over texts is taken shard by shard, ((0 + 1) + (2 + 3)) + ..., wherever the shards lie: a process that
holds 1, 2, 4 or all of them computes a subtree. Only sums over rows need this; whatever treats rows one by one runs
over all of them at once (`gradients` has both).
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import nn

from bonafide.engine import dropout
from bonafide.forward.overlap import Aside
from bonafide.project.errors import InputError

Sizes = list[int]
"""Rows of each shard, in order."""


class Layout:
    """Where the shards of the present batch lie and what chance they have; all modules of a model share one."""

    def __init__(self, device: torch.device | None = None) -> None:
        """Nothing is laid out before `set`; `device` is the model's, None the CPU."""
        self.move(device or torch.device("cpu"))
        self.by_rows: dict[int, Sizes] = {}
        self.texts: Sizes = []
        """Of each shard."""
        self.row_words: dict[int, torch.Tensor] = {}
        """By number of rows, what `chance` draws from; empty where numpy draws."""
        self.key = self.first_shard = 0
        self.exact = False
        """Whether sums must not depend on where the shards lie."""
        self.least_rows = 0
        """From so many rows on a product gives a row the same bits whatever their number; 0: not known."""
        self.products = torch.float32
        """The dtype of products."""
        self.lowered: dict[int, torch.Tensor] = {}
        """By its id, a weight in the dtype that autocast would cast it to."""
        self.aside = Aside()
        """Where the gradients of weights are computed."""
        self.taken: set[int] = set()
        """The id of each parameter whose gradient its module writes, not autograd."""
        self.copied: set[int] = set()
        """Of these, the id of each that is copied for each shard."""
        self.shared: set[int] = set()
        """The id of each parameter that a pass uses several times."""
        self.parts: dict[int, list[torch.Tensor]] = {}
        """By the id of such a one, the sum of its uses so far, of each shard."""
        self.settled = False
        """Whether these are known."""
        self.written: set[int] = set()
        """The id of each parameter whose gradient of the present pass is there."""
        self.used: dict[int, torch.Tensor] = {}
        """By a table's id, the rows of its gradient that are not zero; all may be where it lacks."""

    def move(self, device: torch.device) -> None:
        """Follow the model to another device."""
        self.device = device
        self.queued = device.type == "cuda"
        """Whether the device works off a queue, and so must not be waited for."""

    def set(self, lengths: Sequence[int], cuts: Sequence[int], key: int, first_shard: int) -> None:
        """Rows of each text, boundaries of shards in texts, the step's key of chance and the number of its shard 0."""
        rows = [0, *accumulate(lengths)]
        self.texts = texts = [end - start for start, end in pairwise(cuts)]
        self.by_rows = {len(lengths): texts, rows[-1]: [rows[end] - rows[start] for start, end in pairwise(cuts)]}
        self.key, self.first_shard = key, first_shard
        if self.queued:
            words = {n: dropout.row_words(sizes, key, first_shard, self.device) for n, sizes in self.by_rows.items()}
            self.row_words = words

    def sizes(self, tensor: torch.Tensor) -> Sizes:
        """The shards of a tensor (..., d) with a row for each token or for each text; KeyError for any other."""
        return self.by_rows[tensor[..., 0].numel()]

    def dim(self, x: torch.Tensor) -> int | None:
        """The dimension of x in which there is a row for each token, or else for each text; None if there is none.

        Not the last one of features. Of several, heads among them, it is the one whose rows lie farthest apart.
        """
        dims = range(x.ndim - (x.is_floating_point() and x.ndim > 1))
        for rows in sorted(self.by_rows, reverse=True):
            found = [dim for dim in dims if x.shape[dim] == rows]
            if found:
                return max(found, key=x.stride)
        return None

    def writes(self, module: nn.Module) -> bool:
        """Whether the gradients of a module's weights, if it has some to train, are written by the module."""
        return all(p is None or not p.requires_grad or id(p) in self.taken for p in module._parameters.values())  # noqa: SLF001

    def clear(self) -> None:
        """Modules work as in stock torch until the next `set`."""
        self.by_rows = {}

    def keep(self, x: torch.Tensor, p: float, site: int) -> torch.Tensor:
        """What to multiply x (..., d) by to drop a share `p` of it: a pure function of (key, shard, site, position).

        Philox, counter-based (Salmon et al. 2011), in 16 bits: `p` is met to 2^-16. One stream for each shard. On the
        CPU; the GPU's is in `chance`.
        """
        threshold = round(p * 65536)
        width = x.shape[-1]
        words = []
        for shard, rows in enumerate(self.sizes(x), start=self.first_shard):
            stream = np.random.Philox(key=[self.key, shard], counter=[0, 0, 0, site])
            count = rows * width
            words.append(stream.random_raw(-(-count // 4)).view(np.int16)[:count])
        kept = torch.from_numpy(np.concatenate(words)).to(x.device).float()  # `where` on int16 takes 12 times as long
        return kept.ge_(threshold - 32768).mul_(65536 / (65536 - threshold)).to(x.dtype).view_as(x)


class Dropout(nn.Module):
    """nn.Dropout whose chance depends on the shard and not on the process that holds it."""

    def __init__(self, p: float, site: int, layout: Layout) -> None:
        """Drop with probability `p`; `site` tells the model's dropouts apart."""
        super().__init__()
        self.p, self.site, self.layout = p, site, layout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with dropped elements zero and the others scaled up, in training only."""
        if not (self.training and self.p):
            return x
        if x[..., 0].numel() not in self.layout.by_rows:
            return self._drop_elsewhere(x)
        if self.layout.queued:
            return dropout.drop(x, self.p, self.layout.row_words[x[..., 0].numel()], self.site)
        return x * self.layout.keep(x, self.p, self.site)

    def _drop_elsewhere(self, x: torch.Tensor) -> torch.Tensor:
        """By torch's chance, which an engine seeds for each pass: rows of neither texts nor tokens have no shard."""
        if self.layout.exact:
            raise InputError(f"{tuple(x.shape)}: no row for each token is dropped here: set train.exact to false")
        return nn.functional.dropout(x, self.p, training=True)


def replace_dropout(model: nn.Module, layout: Layout) -> None:
    """Replace each nn.Dropout by ours, in the model's order."""
    found = [name for name, module in model.named_modules() if type(module) is nn.Dropout]
    for site, name in enumerate(found):
        model.set_submodule(name, Dropout(model.get_submodule(name).p, site, layout))  # type: ignore[arg-type]


def tree_sum(parts: Iterable[torch.Tensor], done: Callable[[torch.Tensor], None] = lambda _: None) -> torch.Tensor:
    """Add tensors pairwise, in place, holding few at once: ((0 + 1) + (2 + 3)) + ...; `done` gets what is added."""
    stack: list[tuple[int, torch.Tensor]] = []
    for part in parts:
        level = 0
        while stack and stack[-1][0] == level:
            left = stack.pop()[1].add_(part)
            done(part)
            part, level = left, level + 1  # noqa: PLW2901
        stack.append((level, part))
    while len(stack) > 1:  # not a power of two
        part = stack.pop()[1]
        stack[-1] = (0, stack[-1][1].add_(part))
        done(part)
    return stack[0][1]
