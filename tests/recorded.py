"""A CUDA graph on the CPU: the operations of a pass and the tensors that they read and wrote, to be done once more.

As a graph it has no Python and no autograd in it, reads where the recorded pass read, and writes where that one wrote;
numbers that the host knew then are those of then.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Recording(TorchDispatchMode):
    """The operations that are done while it is active."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.done.append((func, args, kwargs, out))
        return out

    @torch.no_grad()
    def replay(self):
        """Do them again, each result to where it was."""
        for func, args, kwargs, out in self.done:
            if func.is_view:
                continue
            for place, found in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(found, torch.Tensor) and found.data_ptr() != place.data_ptr():
                    place.copy_(found)


def record(work):
    """As `bonafide.engine.cuda_graphs.record`; unlike there, `work` is done on the way, as a CUDA graph's is not."""
    with Recording() as recording:
        result = work()
    return result, recording.replay
