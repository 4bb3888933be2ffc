"""Devices of this machine, each lent to one experiment at a time, whoever asks: a GPU or a CPU core, by a locked file.

The kernel gives a lock back when its holder ends, however it ends. The files lie in the machine's temporary folder,
open to all users, since devices are.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

GPU = "gpu-"
CORE = "core-"


@dataclass(frozen=True)
class Lease:
    """Devices held until `end`."""

    devices: tuple[str, ...]
    locks: tuple[FileLock, ...]

    def end(self) -> None:
        """Give them back."""
        for lock in self.locks:
            lock.release()

    def environment(self) -> dict[str, str]:
        """What a process needs to see these GPUs and no other; nothing for cores."""
        ids = [device.removeprefix(GPU) for device in self.devices if device.startswith(GPU)]
        return {"CUDA_VISIBLE_DEVICES": ",".join(ids)} if ids else {}

    @contextmanager
    def confine(self) -> Iterator[None]:
        """Processes started within run on these cores alone (Linux)."""
        cores = {int(device.removeprefix(CORE)) for device in self.devices if device.startswith(CORE)}
        if not cores or not hasattr(os, "sched_setaffinity"):
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


def find_devices() -> list[str]:
    """The machine's GPUs that this process may see, by UUID; where there is none, the cores it may run on."""
    gpus = visible(_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpus:
        return [f"{GPU}{uuid}" for uuid in gpus]
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return [f"{CORE}{number}" for number in sorted(cores)]


def _gpus() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []


def visible(uuids: Sequence[str], setting: str | None) -> list[str]:
    """Those of the machine's GPUs that CUDA_VISIBLE_DEVICES names, by index or by the start of a UUID."""
    if setting is None:
        return list(uuids)
    found = []
    for word in filter(None, (part.strip() for part in setting.split(","))):
        named = [uuids[int(word)]] if word.isdigit() and int(word) < len(uuids) else []
        found += named or [uuid for uuid in uuids if uuid.startswith(word)]
    return found


def need(threads: int, processes: int, devices: Sequence[str]) -> int:
    """How many devices an experiment takes: a GPU a process, or a core a thread; all there are if they are too few.

    Threads shape the last bits of a result, so an experiment gets as many cores as it has threads, and never fewer
    because others run beside it.
    """
    wanted = processes if devices[0].startswith(GPU) else processes * threads
    return min(wanted, len(devices))


def take(devices: Sequence[str], count: int) -> Lease | None:
    """Lease `count` of the devices, or None where fewer are free now."""
    folder = _folder()
    held: dict[str, FileLock] = {}
    for device in devices:
        lock = FileLock(folder / f"{device}.lock", timeout=0, mode=0o666)
        try:
            lock.acquire()
        except Timeout:
            continue
        held[device] = lock
        if len(held) == count:
            return Lease(tuple(held), tuple(held.values()))
    Lease((), tuple(held.values())).end()
    return None


def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / "bonafide-devices"
    if not folder.exists():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o1777)  # as /tmp: all users lock here, none removes another's
    return folder
