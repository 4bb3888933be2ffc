"""A trace of a few training steps, for TensorBoard's profiler plugin and ui.perfetto.dev."""

import os
from pathlib import Path
from typing import Any

from torch._C._profiler import _ExperimentalConfig
from torch.profiler import profile, record_function


class Profiler:
    """Records the steps `first` to `first + steps - 1`, counted from 1 in this process; 0 steps record nothing."""

    def __init__(self, steps: int, first: int, path: Path) -> None:
        """Start right away if `first` is the first step; `path` ends in .pt.trace.json.gz."""
        self.steps = range(first, first + steps)
        self.path = path
        self.current = 0
        self.session: Any = None
        self.marker: Any = None
        self.step()

    def step(self) -> None:
        """Say that an optimiser step has ended (and the next one begins); 0.1 us outside the recorded ones."""
        self.current += 1
        if self.current in self.steps:
            self._record()
        elif self.session is not None:
            self.close()

    def _record(self) -> None:
        if self.session is None:
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else two lines of noise on standard error; 0 shows all
            every_thread = _ExperimentalConfig(
                profile_all_threads=True
            )  # also the gradients that `GradOverlap` computes
            self.session = profile(record_shapes=True, experimental_config=every_thread)
            self.session.start()
        else:
            self.marker.__exit__(None, None, None)
        self.marker = record_function(f"ProfilerStep#{self.current}")  # the name that TensorBoard looks for
        self.marker.__enter__()

    def close(self) -> None:
        """Write what has been recorded; needed only where training may end before its last recorded step."""
        if self.session is None:
            return
        self.marker.__exit__(None, None, None)
        self.session.stop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.session.export_chrome_trace(str(self.path))
        self.session = self.marker = None
