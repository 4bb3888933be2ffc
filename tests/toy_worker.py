"""A worker for the launch tests: sums ranks once a round, as long as it is told to, and leaves notes in its folder.

usage: toy_worker.py FOLDER MODE
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from bonafide.training import launch

FOLDER, MODE = Path(sys.argv[1]), sys.argv[2]
ROUNDS = 20


def note(name, text=""):
    path = FOLDER / f"{name}-{os.environ['RANK']}"
    path.with_suffix(".tmp").write_text(str(text))
    path.with_suffix(".tmp").rename(path)


def stop(number, _frame):
    note("stopped", number)
    sys.exit(128 + number)


def exchange(rank):
    total = torch.zeros(3)
    for step in range(ROUNDS if MODE == "sum" else 10**9):
        part = torch.full((3,), float(rank + 1) * step)
        dist.all_reduce(part)
        total += part
        if step == 3:
            note("running")
        time.sleep(0.05)
    return total.tolist()


def main():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    launch.exit_with_parent()
    note("pid", os.getpid())
    with (FOLDER / f"starts-{os.environ['RANK']}").open("a") as starts:
        starts.write("x")
    rank, size = launch.join()
    if MODE == "refuse" and rank == 1:
        sys.exit(3)
    if MODE == "kill always" and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if MODE == "stick":  # no peer will ever send this one
        note("running")
        dist.recv(torch.zeros(1), src=1 - rank)
    os.write(1, f"worker {rank} of {size}\n".encode())  # one write: lines of two workers do not mix
    note("total", exchange(rank))
    launch.leave()


main()
