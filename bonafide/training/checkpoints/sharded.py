"""Checkpoints of a sharded training: each process writes its rows, and a step counts if all its parts verify.

A folder for each part, `rank-0-of-2` and so on, which is `Checkpoints` of its own. Any number of processes goes on
from what another number wrote.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from bonafide.engine.process_group import ProcessGroup
from bonafide.training.checkpoints.manager import LAST, Checkpoint, Checkpoints
from bonafide.training.checkpoints.manifest import State


@dataclass(frozen=True)
class ReshardedCheckpoint:
    """A checkpoint of another number of processes, of whose parts, all verified, we need some rows."""

    parts: list[Checkpoint]
    """In the order of their ranks."""
    group: ProcessGroup

    @property
    def step(self) -> int:
        """The same in all parts."""
        return self.parts[0].step

    @property
    def progress(self) -> dict[str, Any]:
        """Rank 0's, which has the whole history."""
        return self.parts[0].progress

    def load(self, name: str) -> State:
        """Read our rows of the tensors of one file, on the CPU, into memory of their own."""
        with ExitStack() as stack:
            paths = [part.folder / f"{name}.safetensors" for part in self.parts]
            files = [stack.enter_context(safe_open(path, "pt")) for path in paths]
            return {key: self._own_rows([file.get_slice(key) for file in files]) for key in files[0].keys()}  # noqa: SIM118

    def _own_rows(self, parts: list[Any]) -> torch.Tensor:
        """Our rows of a tensor that lies in `parts`, slices of safetensors: ceil(n / processes), as torch has them."""
        lengths = [part.get_shape()[0] for part in parts]
        each = -(-sum(lengths) // self.group.size)
        start, found = self.group.rank * each, []
        for part, length in zip(parts, lengths, strict=True):
            first, end = (min(max(row, 0), length) for row in (start, start + each))
            found.append(part[first:end])
            start -= length
        return torch.cat(found)


class ShardedCheckpoints:
    """The checkpoints of one training, a folder for each process; all of them call each method, at the same step."""

    def __init__(self, folder: Path, say: Callable[[str], None], group: ProcessGroup) -> None:  # noqa: D107
        self._folder, self._say, self._group = folder, say, group
        self._own = self._part(group.rank, group.size, say)
        self.due, self.finish = self._own.due, self._own.finish

    def _part(self, rank: int, size: int, say: Callable[[str], None]) -> Checkpoints:
        name = f"rank-{rank}-of-{size}"
        return Checkpoints(self._folder / name, lambda line: say(f"{name}: {line}"))

    def newest(self) -> Checkpoint | ReshardedCheckpoint | None:
        """Find the newest step that verifies in all its parts, whatever their number; of equal ones our number's.

        Each newer one is named with its reason, and skipped.
        """
        found = {path.name.rpartition("-")[2] for path in self._folder.glob("rank-*-of-*")}
        sizes = iter(
            sorted((int(size) for size in found if size.isdecimal()), key=lambda n: (n != self._group.size, n))
        )
        best: Checkpoint | ReshardedCheckpoint | None = None
        while size := self._group.broadcast(next(sizes, 0)):
            one = self._newest_of(size)
            best = one if one and (not best or one.step > best.step) else best
        return best

    def _newest_of(self, size: int) -> Checkpoint | ReshardedCheckpoint | None:
        """The newest step of `size` processes that all its parts have, and have saved at the same time.

        Of our number each process verifies its own part, of another each all: it may need rows of any.
        """
        own = size == self._group.size
        ranks = [self._group.rank] if own else list(range(size))
        say = self._say if own or self._group.rank == 0 else lambda _: None
        parts = [self._own] if own else [self._part(rank, size, say) for rank in ranks]
        limit = LAST
        while True:
            found = [part.newest(limit) for part in parts]
            marks = [one.progress["mark"] if one else 0 for one in found]
            low, high = self._group.all_min(min(marks)), -self._group.all_min(-max(marks))
            if low == high:
                whole = [one for one in found if one]
                return None if not whole else whole[0] if own else ReshardedCheckpoint(whole, self._group)
            for rank, mark in zip(ranks, marks, strict=True):
                if mark < high:
                    say(f"checkpoint step-{high >> 32:08d}: rank-{rank}-of-{size} has no whole part of it; skipped")
            limit = min(low >> 32, (high >> 32) - 1)

    def save(
        self, step: int, files: Mapping[str, State | None], progress: dict[str, Any], *, wait: bool = False
    ) -> None:
        """Write our part, as `Checkpoints.save` does, once all have theirs of the checkpoint before it on disk.

        Two are kept, so a process that is behind still has the newest that all have. The mark tells parts of this
        save from those of an earlier one at this step.
        """
        self._own.finish()
        mark = self._group.all_min(step << 32 | time.time_ns() % 2**32)
        self._own.save(step, files, progress | {"mark": mark}, wait=wait)

    def remove(self) -> None:
        """Delete all parts of all numbers of processes, once the others have finished: rank 0 alone calls this."""
        self.finish()
        shutil.rmtree(self._folder, ignore_errors=True)
