"""Gradients of weights on half of the CPU threads, beside the backward pass, which goes on with the other half.

Backward, the layer below waits for the gradient of a layer's input, and only the optimizer for that of its weights.
Two halves that work side by side need not meet after every operation, nor does one idle while Python runs for the
other.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import dropwhile

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


class GradOverlap:
    """A worker thread with half of torch's CPU threads, while it is `active`."""

    def __init__(self, threads: int = 1) -> None:
        """An odd number of `threads` is not shared: then all work is done at once, by the caller."""
        self.threads = threads
        self._worker = None if threads % 2 else ThreadPoolExecutor(1, "grads", torch.set_num_threads, (threads // 2,))
        self._submitted: list[Future[None]] | None = None

    def submit(self, work: Callable[[], object]) -> None:
        """Do `work`, all of it in the order in which it is submitted."""
        if self._worker is None or self._submitted is None:
            work()
        else:
            self._submitted.append(self._worker.submit(_without_autograd, work))

    @contextmanager
    def active(self) -> Iterator[None]:
        """What is submitted in here is done at the end, where what it has raised is raised."""
        if self._worker is None:
            yield
            return
        self._submitted = []
        torch.set_num_threads(self.threads // 2)
        try:
            yield
            for one in self._submitted:
                one.result()
        finally:
            wait(self._submitted)
            self._submitted = None
            torch.set_num_threads(self.threads)


def mostly_trained(model: nn.Module) -> bool:
    """Whether most products backward, from the lowest trained one up, have weights to compute gradients of.

    Of LoRA they do not: half of the threads would wait, and the other half would take twice as long.
    """
    linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear | Conv1D)]
    passed = list(dropwhile(lambda weight: not weight.requires_grad, linear))
    return 2 * sum(w.numel() for w in passed if w.requires_grad) > sum(w.numel() for w in passed)


@torch.no_grad()
def _without_autograd(work: Callable[[], object]) -> None:
    work()
