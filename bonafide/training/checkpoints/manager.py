"""Checkpoints of a training: each whole or absent, verified before it is used, and written beside the training."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, thread_time
from typing import Any

from safetensors.torch import load_file

from bonafide.training.checkpoints.manifest import DAMAGE, State, store, verify

# Checkpoints may cost 2 % of a training's time. The next one waits for 100 times what the last one cost, which is 1 %:
# half of that is left for one that is dearer than the one before it, and for the writer that slows the training down.
INTERVAL_COSTS = 100
INTERVAL_SECONDS = 10  # at least, however cheap they are
LAST = 99_999_999  # step: eight digits, in whose order names are sorted


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk that has been verified."""

    folder: Path
    step: int
    progress: dict[str, Any]

    def load(self, name: str) -> State:
        """Read the tensors of one file, on the CPU, into memory of their own."""
        return load_file(self.folder / f"{name}.safetensors", backend="pread")


class Checkpoints:
    """The checkpoints of one training, in a folder that it alone writes to; `say` is told of those it skips."""

    def __init__(self, folder: Path, say: Callable[[str], None], keep: int = 2) -> None:  # noqa: D107
        self._folder, self._say, self._keep = folder.resolve(), say, max(1, keep)
        self._known: list[Path] = []  # verified, or written here; the latest last
        self._files: dict[str, Any] = {}  # of the latest, as in its manifest; empty after a write that failed
        self._writing: Future[None] | None = None
        self._since, self._blocked, self._cpu = monotonic(), 0.0, 0.0

    def newest(self, limit: int = LAST) -> Checkpoint | None:
        """Find the newest checkpoint up to step `limit` that verifies; each newer one is named, and skipped."""
        self.finish()
        found = [path for path in self._folder.glob("step-*") if path.suffix in {"", ".old"}]
        found = [path for path in found if path.stem <= f"step-{limit:08d}"]
        for folder in sorted(found, key=lambda path: (path.stem, not path.suffix), reverse=True):
            try:
                manifest = verify(folder)
            except DAMAGE as problem:
                self._say(f"checkpoint {folder.name}: {problem}; skipped")
                continue
            self._known, self._files = [*self._known, folder], manifest["files"]
            return Checkpoint(folder, manifest["step"], manifest["progress"])
        return None

    def save(
        self, step: int, files: Mapping[str, State | None], progress: dict[str, Any], *, wait: bool = False
    ) -> None:
        """Write a checkpoint, in the background unless `wait`; a file that is None is as in the latest checkpoint."""
        started = monotonic()
        self.finish()  # before the copy, so that there is one in memory at most
        if any(state is None and name not in self._files for name, state in files.items()):
            raise ValueError(f"step {step}: no whole checkpoint before it to take a file from")
        copies = {name: state and snapshot(state) for name, state in files.items()}
        pool = ThreadPoolExecutor(1)
        self._writing = pool.submit(self._write, step, copies, json.loads(json.dumps(progress, allow_nan=False)))
        pool.shutdown(wait=wait)  # the thread ends with its one task
        self._blocked = monotonic() - started
        if wait:
            self.finish()

    def finish(self) -> None:
        """Wait until the last save is on disk; raise its error once, such as OSError of a full disk."""
        if self._writing is not None:
            self._writing.exception()  # waits; an interrupt here leaves it to the next call
            writing, self._writing = self._writing, None
            writing.result()

    def due(self) -> bool:
        """Whether it is time: a checkpoint now keeps their cost at about 1 % of the time, of the 2 % it may be.

        The cost is what the last one did: the time `save` held up the training, and its writer's time on a processor.
        """
        ready = self._writing is None or self._writing.done()
        wait = max(INTERVAL_SECONDS, INTERVAL_COSTS * (self._blocked + self._cpu))
        return ready and monotonic() - self._since >= wait

    def remove(self) -> None:
        """Delete the whole folder: the training has ended well."""
        self.finish()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, step: int, states: dict[str, State | None], progress: dict[str, Any]) -> None:
        target, records, self._files = self._folder / f"step-{step:08d}", self._files, {}
        try:
            links = {name: (self._known[-1], record) for name, record in records.items()}
            files = store(target, states, {"step": step, "progress": progress}, links)
            self._known, self._files = [*(path for path in self._known if path != target), target], files
            self._prune()
        finally:
            self._since, self._cpu = monotonic(), thread_time()

    def _prune(self) -> None:
        self._known = self._known[-self._keep :]
        enough = len(self._known) == self._keep  # before that, one that nobody has verified may be needed
        for path in self._folder.glob("step-*"):
            pid = path.suffix.removeprefix(".tmp-")
            dead = pid.isdecimal() and (int(pid) == os.getpid() or not Path("/proc", pid).exists())
            if dead or (enough and path.suffix in {"", ".old"} and path not in self._known):
                shutil.rmtree(path, ignore_errors=True)


def snapshot(state: State) -> State:
    """Copy tensors to CPU memory, each to a storage of its own."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}
