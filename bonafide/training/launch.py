"""Several processes for one stage: started by torch's own elastic launcher, joined into a group, and mortal together.

`run_workers` is the parent's part; `exit_with_parent`, `join` and `leave` are a worker's.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from datetime import timedelta
from types import FrameType
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.rendezvous import rendezvous

from bonafide.project.errors import ENVIRONMENT, InputError
from bonafide.project.process import die_with_parent

LAUNCHER = "BONAFIDE_LAUNCHER"  # its pid: a worker that is still importing torch when it dies learns of it from this
RESTARTS = 3  # a machine that kills the same run four times has too little memory for it
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE, ORPHAN_GRACE = 20.0, 3.0  # seconds to save: the agent kills after 30; without it the next run may start at once
REPEATABLE = {"NCCL_ALGO": "Ring", "NCCL_PROTO": "Simple"}  # else NCCL chooses, and with it the order of sums


def is_worker() -> bool:
    """Whether a launcher (`run_workers`, torchrun, and through it Slurm or SkyPilot) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def run_workers(processes: int, command: list[str]) -> int:
    """Run so many workers of `command` on this machine, which is all this process does; return its exit code.

    If a worker is killed by a signal, all start again, at most three times, with a new agent: torch 2.13's agent
    keeps its TCPStore over its own restarts, and gloo then finds the addresses of the dead (hung 2 times of 6).
    """
    die_with_parent()
    os.environ[LAUNCHER] = str(os.getpid())
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine: open to no network, no host name to resolve
    for number in SIGNALS:
        signal.signal(number, _stop)
    logging.disable(logging.CRITICAL)  # the agent tells of each failure in some 40 lines
    try:
        return _run_workers(processes, command)
    except SignalException as stop:
        return 128 + stop.sigval


def _run_workers(processes: int, command: list[str]) -> int:
    for left in reversed(range(RESTARTS + 1)):
        codes = _run_agent(processes, command)
        # SIGTERM is what the agent itself sends to the others when one has failed
        killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
        if not killed:
            return _worst(list(codes.values()))
        rank, number = min(killed.items())
        then = "starting again from the newest checkpoint" if left else f"gave up after {RESTARTS} new starts"
        line = f"train: worker {rank} was killed ({signal.Signals(number).name}); {then}"
        print(line, file=sys.stderr, flush=True)
    return ENVIRONMENT


def _run_agent(processes: int, command: list[str]) -> dict[int, int]:
    """One agent's life: the exit codes of the workers that failed, negative for signals as subprocess has them."""
    meeting: dict[str, Any] = {"run_id": uuid.uuid4().hex, "rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0"}
    logs = DefaultLogsSpecs(log_dir=os.devnull)  # output goes straight through; no folders in /tmp
    config = LaunchConfig(1, 1, processes, logs, **meeting, local_addr="127.0.0.1", max_restarts=0)
    try:
        elastic_launch(config, command[0])(*command[1:])
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    return {}


def _worst(codes: list[int]) -> int:
    """The code that tells most: a worker's own refusal, then a crash (often a peer's loss), then a signal's end."""
    codes = [128 - code if code < 0 else code for code in codes]
    return min(codes, key=lambda code: (code > 128, code == 1, code), default=0)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise SignalException("stopped", signal.Signals(number))


def exit_with_parent(grace: float = GRACE) -> None:
    """End with the agent, even within a collective: call it first thing once SIGTERM has its handler.

    Python runs no handler while a collective waits in C++, so a thread reads the signals' numbers and ends the process
    `grace` seconds after one, or three when the agent is gone.
    """
    parent = int(os.environ.get(LAUNCHER, os.getppid()))
    die_with_parent()
    if os.getppid() != parent:
        sys.exit(143)
    reader, writer = socket.socketpair()
    writer.setblocking(False)  # noqa: FBT003
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, parent, grace), daemon=True).start()


def _watch(reader: socket.socket, parent: int, grace: float) -> None:
    while not any(number in SIGNALS for number in reader.recv(64)):
        pass
    started = time.monotonic()
    while (waited := time.monotonic() - started) < grace and (os.getppid() == parent or waited < ORPHAN_GRACE):
        time.sleep(0.1)
    os._exit(143)


def join(timeout: timedelta = timedelta(minutes=10)) -> tuple[int, int]:
    """Join the group of all workers; return (rank, world size). No collective waits longer than `timeout`."""
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if shared and restarts and int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1:
        # each node counts its own restarts, so that the prefix below would not be the same on all
        raise InputError("torchrun --max-restarts over several nodes needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1")
    for name, value in REPEATABLE.items():
        os.environ.setdefault(name, value)
    store, rank, size = next(iter(rendezvous("env://", timeout=timeout)))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"attempt_{attempt}", store)  # type: ignore[attr-defined]
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"  # flags and metrics are on the CPU
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    return rank, size


def leave() -> None:
    """Leave the group, without waiting for the others."""
    if dist.is_initialized():
        dist.destroy_process_group()
