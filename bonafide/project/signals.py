"""SIGINT and SIGTERM: a process ends with 128 + the signal's number, at once or when its loop has saved."""

import signal
import sys
from types import FrameType
from typing import NoReturn, Self

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def end_on_signals() -> None:
    """From now on either raises SystemExit."""
    for number in SIGNALS:
        signal.signal(number, _stop)


class Stop:
    """Within it a signal only leaves its exit code in `code`, for a loop that saves first; it has so many seconds."""

    def __init__(self, seconds: int) -> None:
        """Nothing has asked to stop."""
        self.seconds, self.code = seconds, 0

    def __enter__(self) -> Self:
        """Take the signals over."""
        for number in SIGNALS:
            signal.signal(number, self._note)
        return self

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.code = SIGNALS[signal.Signals(number)]
        signal.signal(signal.SIGALRM, lambda _number, _frame: _stop(number, None))
        signal.alarm(self.seconds)

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        signal.alarm(0)
        end_on_signals()


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    """End the stage, and again a second later: an exception that is raised within a destructor is swallowed."""
    code = SIGNALS[signal.Signals(number)]
    signal.signal(signal.SIGALRM, lambda _number, _frame: _stop(number, None))
    signal.alarm(1)
    sys.exit(code)
