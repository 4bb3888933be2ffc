"""Requests answered together: those that arrive while one is at work make up the next batch, and none waits for more.

A pass over few rows costs a fixed time, so one pass for all who wait takes little longer than one for each.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from bonafide.protocol import Outputs, Rows

Answer = Callable[[Rows], Outputs]
THREADS = (
    40  # of a server, as Starlette has; asyncio's own number, cores + 4, would keep most requests from waiting here
)
LIMIT = 256  # rows of one pass for several requests; a request of more has a pass of its own


@dataclass
class _Request:
    rows: Rows
    answer: Future[Outputs] = field(default_factory=Future)


class Batcher:
    """`answer` for many threads: it runs in the one thread of `thread`, over the rows of all that wait.

    Always the same thread, since OpenMP keeps helpers for each that computes, and they wait for one another asleep
    once there are more of them than cores: 0.60 instead of 0.71 times a pipeline's texts a second for one client.
    """

    def __init__(self, answer: Answer, thread: ThreadPoolExecutor) -> None:
        """Nobody waits."""
        self.answer, self.thread = answer, thread
        self.waiting: deque[_Request] = deque()

    def __call__(self, rows: Rows) -> Outputs:
        """What `answer` has for these rows; raise what it raises for them."""
        mine = _Request(rows)
        self.waiting.append(mine)
        self.thread.submit(self._next)  # one for each request, most of which find that it has been answered
        return mine.answer.result()

    def _next(self) -> None:
        if self.waiting:
            self._answer(self._take())

    def _take(self) -> list[_Request]:
        taken = [self.waiting.popleft()]
        count = len(taken[0].rows)
        while self.waiting and count + len(self.waiting[0].rows) <= LIMIT:
            taken.append(self.waiting.popleft())
            count += len(taken[-1].rows)
        return taken

    def _answer(self, taken: list[_Request]) -> None:
        try:
            answer = self.answer([row for request in taken for row in request.rows])
        except Exception as error:  # noqa: BLE001 - whoever asked for it gets it
            if len(taken) == 1:
                taken[0].answer.set_exception(error)
                return
            for request in taken:  # one of them is to blame, and the others shall not suffer
                self._answer([request])
            return
        ends = np.cumsum([len(request.rows) for request in taken])
        for request, part in zip(taken, np.split(answer, ends[:-1]), strict=True):
            request.answer.set_result(part)


def event_loop() -> asyncio.AbstractEventLoop:
    """What uvicorn runs MLflow's server in (UVICORN_LOOP): asyncio's, with a thread for each of many requests."""
    made = asyncio.new_event_loop()
    made.set_default_executor(ThreadPoolExecutor(THREADS))
    return made
