"""Keys and values of what is written so far, in buffers with room: transformers copies all of them at each step."""

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

ROOM = 16  # slots at first; a full buffer is doubled


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """A layer's keys and values, (n, heads, tokens, d) views of one buffer."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        super().__init__()
        self.buffer = torch.empty(0)
        """(2, n, heads, room, d): keys, values."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Add (n, heads, new tokens, d) and return keys and values of all."""
        if not self.is_initialized:  # type: ignore[has-type]
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            self.keys = self.values = key_states[:, :, :0]
        held, total = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        if not held or total > self.buffer.shape[3]:
            n, heads, _, d = key_states.shape  # type: ignore[assignment]
            larger = key_states.new_empty(2, n, heads, max(2 * total, ROOM), d)
            larger[0, :, :, :held], larger[1, :, :, :held] = self.keys, self.values
            self.buffer = larger
        self.buffer[0, :, :, held:total], self.buffer[1, :, :, held:total] = key_states, value_states
        self.keys, self.values = self.buffer[:, :, :, :total]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Keep rows `beam_idx` of the n."""
        self.buffer = self.buffer.index_select(1, beam_idx)
        self.keys, self.values = self.buffer[:, :, :, : self.keys.shape[2]]


class SharedLayer(GrowingLayer):
    """Of all beams of a source, (sources, heads, slots, d): the first step has a beam a source, each gets a slot."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        super().__init__()
        self.steps = 0

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Add what each beam has, (sources x beams, heads, 1, d), and return the slots of all steps."""
        sources = len(self.keys) if self.is_initialized else len(key_states)
        self.steps += 1
        return super().update(fold(key_states, sources), fold(value_states, sources))

    def get_seq_length(self) -> int:
        """Tokens of each beam, by which models count positions."""
        return self.steps


def fold(x: torch.Tensor, sources: int) -> torch.Tensor:
    """(sources x beams, heads, tokens, d) to (sources, heads, beams x tokens, d)."""
    return x.unflatten(0, (sources, -1)).transpose(1, 2).flatten(2, 3)  # type: ignore[no-any-return, no-untyped-call]
