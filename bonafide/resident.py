"""What a step sends to the model's device: queued, so that neither waits for the other."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def send(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on the device; on the CPU it shares the array's memory.

    On CUDA by pinned memory, which torch keeps and takes again after the copy: one from pageable memory waits for the
    device's queue.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
