"""What a step needs on the model's device: a split's arrays, there once, and what is sent, which nobody waits for."""

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch

from bonafide.datasets.ragged import Tokens

_there: WeakKeyDictionary[Tokens, dict[tuple[str, torch.device], torch.Tensor]] = WeakKeyDictionary()


def send(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on the device; on the CPU it shares the array's memory.

    On CUDA by pinned memory, which torch keeps and takes again after the copy: one from pageable memory waits for the
    device's queue.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def take(tokens: Tokens, name: str, at: torch.Tensor) -> torch.Tensor:
    """Entries `at` of an array of a split, by its name, on the device of `at`; read from the file on the CPU.

    A GPU gets the whole array when first asked, 4 bytes a token for the ids, and keeps it as long as there is `tokens`.
    """
    array = getattr(tokens, name)
    if at.device.type == "cpu":
        return torch.from_numpy(array[at.numpy()])
    arrays = _there.setdefault(tokens, {})
    if (name, at.device) not in arrays:
        arrays[name, at.device] = torch.from_numpy(np.array(array)).to(at.device)
    return arrays[name, at.device][at]
