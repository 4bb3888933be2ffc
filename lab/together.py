"""Requests answered together: those that arrive while one is at work make up the next batch, and none waits for more.

A pass over few short texts costs a fixed time, so one pass for all who wait takes little longer than one for each.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np

from tasks import Floats

Answer = Callable[[Sequence[str]], Floats]
THREADS = (
    40  # of a server, as Starlette has; asyncio's own number, cores + 4, would keep most requests from waiting here
)
LIMIT = 256  # texts of one pass for several requests; a request of more has a pass of its own


@dataclass
class _Request:
    texts: Sequence[str]
    answer: Floats | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.answer is not None or self.error is not None


class Together:
    """`answer` for many threads: it runs in one at a time, over the texts of all that wait."""

    def __init__(self, answer: Answer) -> None:
        """Nobody waits."""
        self.answer = answer
        self.waiting: deque[_Request] = deque()
        self.lock = Lock()

    def __call__(self, texts: Sequence[str]) -> Floats:
        """What `answer` has for these texts; raise what it raises for them."""
        mine = _Request(texts)
        self.waiting.append(mine)
        with self.lock:  # whoever has it answers for all that wait, so that most find their answer here
            while not mine.is_done:
                self._answer(self._take())
        if mine.answer is None:
            raise mine.error or AssertionError
        return mine.answer

    def _take(self) -> list[_Request]:
        taken = [self.waiting.popleft()]
        count = len(taken[0].texts)
        while self.waiting and count + len(self.waiting[0].texts) <= LIMIT:
            taken.append(self.waiting.popleft())
            count += len(taken[-1].texts)
        return taken

    def _answer(self, taken: list[_Request]) -> None:
        try:
            answer = self.answer([text for request in taken for text in request.texts])
        except Exception as error:  # noqa: BLE001 - whoever asked for it gets it
            if len(taken) == 1:
                taken[0].error = error
                return
            for request in taken:  # one of them is to blame, and the others shall not suffer
                self._answer([request])
            return
        ends = np.cumsum([len(request.texts) for request in taken])
        for request, part in zip(taken, np.split(answer, ends[:-1]), strict=True):
            request.answer = part


def event_loop() -> asyncio.AbstractEventLoop:
    """What uvicorn runs MLflow's server in (UVICORN_LOOP): asyncio's, with a thread for each of many requests."""
    made = asyncio.new_event_loop()
    made.set_default_executor(ThreadPoolExecutor(THREADS))
    return made
