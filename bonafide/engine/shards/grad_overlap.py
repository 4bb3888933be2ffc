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
    """Whether most of the work backward, from the lowest trained layer up, is for weights of linear layers.

    Of LoRA it is not: half of the threads would wait, and the other half would take twice as long. Nor is it of
    convolutions, whose weights' gradients autograd computes with those of their inputs. And beside the gradients of the
    lowest layer's weights there is nothing left to do: where it has most weights, all threads are better (30 % for
    3,072 x 128 below 128 x 10).
    """
    linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear | Conv1D)]
    convolved = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d))
    passed = list(dropwhile(lambda weight: not weight.requires_grad, linear))
    trained = sum(w.numel() for w in passed if w.requires_grad)
    all_passed, lowest = sum(w.numel() for w in passed), sum(w.numel() for w in passed[:1])
    return trained > convolved and 2 * trained > all_passed > 2 * lowest


@torch.no_grad()
def _without_autograd(work: Callable[[], object]) -> None:
    work()
