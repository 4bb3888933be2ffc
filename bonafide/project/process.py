"""Processes: which one it was, whether it has ended, that it ends with its parent, and several that share work."""

import ctypes
import gc
import multiprocessing
import os
import shutil
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import psutil

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

CHUNK = 8192  # rows
ALONE = 50_000  # fewer rows are done here: processes need some 4 s to start
PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLOCK_SECONDS = 60  # by which a clock is set while processes live; another boot is further away
TICK = 0.02  # in which start times are counted, and rounded


def die_with_parent() -> None:
    """Get SIGTERM when the parent dies: `dvc repro` killed by -9 would leave this process writing (Linux only)."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(143)


def with_pdeathsig(command: Sequence[str]) -> list[str]:
    """A command that gets SIGTERM when this process dies, even by SIGKILL (Linux; stages see to it themselves)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", *command] if setpriv else [*command]


def process_id(pid: int) -> str:
    """A name for a process that no later one on any host shares: host, time of its boot, pid and start time."""
    started = psutil.Process(pid).create_time()
    return f"{socket.gethostname()}:{psutil.boot_time():.0f}:{pid}:{started:.2f}"


def is_gone(name: str) -> bool:
    """Whether the process that `process_id` named has ended; of another host's nothing is known, so False.

    Where the clock is set, both times move together, so that what counts is how long after the boot the process began.
    """
    host, boot, pid, started = name.rsplit(":", 3)
    if host != socket.gethostname():
        return False
    try:
        _host, boot_now, _pid, started_now = process_id(int(pid)).rsplit(":", 3)
    except psutil.NoSuchProcess:
        return True
    moved = float(boot_now) - float(boot)
    return abs(moved) > CLOCK_SECONDS or abs(float(started_now) - float(started) - moved) > TICK


@contextmanager
def importing() -> Iterator[None]:
    """Import a large library without garbage collection, which finds nothing there and takes up to a fifth of the time.

    What it has made is never looked through again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()


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
