"""Work that nobody waits for, by half of the threads: the gradients of weights, while the other half goes on backward.

Backward, a layer's input needs its gradient at once and its weights need theirs at the end of the pass. Two halves that
work side by side need not meet after every operation, nor does one idle while Python runs for the other.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import dropwhile

import torch
from torch import nn


class Aside:
    """Half of the CPU threads of torch, while they are `shared`."""

    def __init__(self, threads: int = 1) -> None:
        """An odd number of `threads` is not shared: then all work is done at once, where it comes up."""
        self.threads = threads
        self._hand = None if threads % 2 else ThreadPoolExecutor(1, "aside", torch.set_num_threads, (threads // 2,))
        self._given: list[Future[None]] | None = None

    def do(self, work: Callable[[], object]) -> None:
        """Do `work`, all of it in the order in which it is given."""
        if self._hand is None or self._given is None:
            work()
        else:
            self._given.append(self._hand.submit(_without_history, work))

    @contextmanager
    def shared(self) -> Iterator[None]:
        """The other half does what is given in here; it is done at the end, where what it has raised is raised."""
        if self._hand is None:
            yield
            return
        self._given = []
        torch.set_num_threads(self.threads // 2)
        try:
            yield
            for one in self._given:
                one.result()
        finally:
            wait(self._given)
            self._given = None
            torch.set_num_threads(self.threads)


def mostly_trained(model: nn.Module) -> bool:
    """Whether most products backward, from the lowest trained one up, have weights to compute gradients of.

    Of LoRA they do not: half of the threads would wait, and the other half would take twice as long.
    """
    linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    passed = list(dropwhile(lambda weight: not weight.requires_grad, linear))
    return 2 * sum(w.numel() for w in passed if w.requires_grad) > sum(w.numel() for w in passed)


@torch.no_grad()
def _without_history(work: Callable[[], object]) -> None:
    work()
