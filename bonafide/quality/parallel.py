"""A function over many chunks of rows, on all cores, in order: what comes out depends on the chunks alone."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

CHUNK = 8192  # rows
ALONE = 50_000  # fewer rows are done here: processes need some 4 s to start


def map_chunks(
    function: Callable[[Chunk], Result], chunks: Iterable[Chunk], rows: int, processes: int | None = None
) -> Iterator[Result]:
    """Yield `function(chunk)` of each chunk, in order; `processes` are the machine's cores unless given.

    `function` must be importable and chunks must pickle. `rows` in all decide whether processes pay. A process that
    is killed raises concurrent.futures.process.BrokenProcessPool.
    """
    processes = processes or os.cpu_count() or 1
    if processes == 1 or rows < ALONE:
        yield from map(function, chunks)
        return
    # spawn: a fork of a process with Arrow's threads can deadlock
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[Result]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(function, chunk))
            if len(waiting) > 2 * processes:  # enough to keep them busy; all would be a copy of the table
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
