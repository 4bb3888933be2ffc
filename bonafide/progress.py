"""Progress on standard error: a live line on a terminal, a plain line every 30 s elsewhere."""

import sys
import time

PLAIN_SECONDS = 30.0
LIVE_SECONDS = 0.5


class Progress:
    """Counts steps and tokens; knows speed and time left."""

    def __init__(self, steps: int) -> None:
        """Start the clock of a job of `steps` steps."""
        self.steps = steps
        self.tokens = 0
        self.started = self.shown = time.monotonic()
        self.live = sys.stderr.isatty()

    def update(self, step: int, tokens: int, message: str) -> None:
        """Count a step's tokens and show where the job is when it is time to."""
        self.tokens += tokens
        now = time.monotonic()
        wait = LIVE_SECONDS if self.live else PLAIN_SECONDS
        if now - self.shown < wait and step < self.steps:
            return
        self.shown = now
        left = (now - self.started) / step * (self.steps - step)
        line = f"step {step}/{self.steps}  {message}  {self.tokens_per_second:,.0f} tokens/s  {left / 60:.1f} min left"
        end = "" if self.live and step < self.steps else "\n"
        print(f"\r{line:<100}" if self.live else line, end=end, file=sys.stderr, flush=True)

    @property
    def tokens_per_second(self) -> float:
        """Real tokens a second since the start."""
        return self.tokens / max(1e-9, time.monotonic() - self.started)
