"""Progress on standard error: a live line on a terminal, a plain line every 30 s elsewhere."""

import shutil
import sys
import time

PLAIN_SECONDS = 30.0
LIVE_SECONDS = 0.5


class Progress:
    """Counts steps and tokens of this process; knows speed, use of the hardware and time left."""

    def __init__(
        self, steps: int, done: int = 0, flops_per_token: float = 0.0, peak_flops: float = 0.0, unit: str = "tokens"
    ) -> None:
        """Start the clock of a job of `steps` steps, of which an earlier process has made `done`.

        Neither speed nor time left counts those: how long they took is not known here. MFU is shown if both
        `flops_per_token` and `peak_flops` (FLOP/s of the hardware) are. `unit` is what tokens are called here.
        """
        self.steps = steps
        self.done = self.step = done
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.tokens, self.unit = 0, unit
        self.excluded_seconds = 0.0  # seconds, of those since the start, that no step took: validation's
        self.started = self.shown = time.monotonic()
        self.live = sys.stderr.isatty()
        self.open = False

    def update(self, step: int, tokens: int, loss: float, learning_rate: float) -> None:
        """Count a step's real tokens and show where the job is when it is time to."""
        self.step = step
        self.tokens += tokens
        now = time.monotonic()
        wait = LIVE_SECONDS if self.live else PLAIN_SECONDS
        if now - self.shown < wait and step < self.steps:
            return
        self.shown = now
        self._show(loss, learning_rate)

    def close(self) -> None:
        """End the live line where the job ends before its last step; whatever is printed next starts a line."""
        if self.open:
            print(file=sys.stderr, flush=True)
            self.open = False

    def _show(self, loss: float, learning_rate: float) -> None:
        width = shutil.get_terminal_size().columns - self.live  # a full last column wraps on some terminals
        line = self._line(loss, learning_rate, max(1, width))
        self.open = self.live and self.step < self.steps
        end = "" if self.open else "\n"
        print(f"\r{line:<{max(1, width)}}" if self.live else line, end=end, file=sys.stderr, flush=True)

    def _line(self, loss: float, learning_rate: float, width: int) -> str:
        """As many facts as fit into `width` characters; the learning rate goes first, the step last."""
        mfu = self.mfu
        facts = {
            "step": f"step {self.step}/{self.steps}",
            "loss": f"loss {loss:.3f}",
            "rate": f"lr {learning_rate:.1e}",
            "speed": f"{self.tokens_per_second:,.0f} {self.unit}/s",
            "use": "" if mfu is None else f"MFU {mfu:.0%}".replace("%", " %"),
            "left": f"{duration(self.seconds_left)} left",
        }
        for name in ("", "rate", "use", "speed", "loss", "left"):
            facts.pop(name, None)
            line = "  ".join(filter(None, facts.values()))
            if len(line) <= width:
                return line
        return line[:width]

    @property
    def tokens_per_second(self) -> float:
        """Real tokens a second of the steps since the start."""
        return self.tokens / max(1e-9, time.monotonic() - self.started - self.excluded_seconds)

    @property
    def mfu(self) -> float | None:
        """Model FLOPs utilisation: the share of the hardware's FLOP/s that the model's own arithmetic gets."""
        if not (self.flops_per_token and self.peak_flops):
            return None
        return self.flops_per_token * self.tokens_per_second / self.peak_flops

    @property
    def seconds_left(self) -> float:
        """Time left at the mean speed of this process, validation included."""
        return (time.monotonic() - self.started) / max(1, self.step - self.done) * (self.steps - self.step)


def duration(seconds: float) -> str:
    """A time as people say it: 45 s, 12 min, 3.2 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"
