"""Where a training's time, memory and energy went, and how near it came to what the machine can do.

Measured times differ between equal runs, so none of this may enter a DVC out; it goes to the MLflow run.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bonafide.project.numbers import count, percent
from bonafide.reporting.markdown import code

PHASES = ("data", "forward and backward", "reduce", "optimizer", "validation", "checkpoint")  # four of training
Meters = dict[str, tuple[Callable[[], float], float]]  # name to (joules so far, where the counter wraps)


def matrix_rate(device: str, kind: torch.dtype, tokens: int, width: int, inner: int) -> float:
    """FLOP/s of this machine at (tokens x width) @ (width x inner), in under 0.5 s.

    The best of some tries, with 64 rows and then doubling up to `tokens` while a try takes less than 50 ms.
    """
    repeats = 20 if device.startswith("cuda") else 1
    rng = torch.Generator(device).manual_seed(0)  # its own: measuring changes no result
    left = torch.randn(min(tokens, 16384), width, generator=rng, device=device, dtype=kind)
    right = torch.randn(width, inner, generator=rng, device=device, dtype=kind)
    rows, best, deadline = min(len(left), 64), 0.0, float("inf")
    while (started := time.perf_counter()) < deadline:
        for _ in range(repeats):
            torch.mm(left[:rows], right)
        if left.is_cuda:
            torch.cuda.synchronize(left.device)
        seconds = time.perf_counter() - started
        deadline = min(deadline, started + seconds + 0.25)  # the first try, which loads the library, apart
        best = max(best, 2.0 * rows * width * inner * repeats / seconds)
        rows = min(len(left), 2 * rows) if seconds < 0.05 else rows
    return best


def flops_per_token(model: torch.nn.Module) -> float:
    """6 FLOPs a trained weight, 2 a frozen one, embeddings and attention's products apart (Kaplan et al. 2020, 2.1)."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    return float(sum(p.numel() * (6 if p.requires_grad else 2) for p in model.parameters() if id(p) not in tables))


class Stopwatch:
    """Seconds by phase: `with watch("data"): ...`; a phase within another pauses that one, the rest is "other".

    On CUDA each boundary waits for the GPU, so that a phase is charged for what it has queued.
    """

    def __init__(self, device: str = "cpu") -> None:
        """Start the clock; `device` is the model's."""
        self._seconds = dict.fromkeys((*PHASES, "other"), 0.0)
        self._stack = ["other"]
        self._is_cuda = device.startswith("cuda")
        self._last = time.perf_counter()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Charge the body to one of `PHASES`; 2 us."""
        self._mark()
        self._stack.append(phase)
        try:
            yield
        finally:
            self._mark()
            self._stack.pop()

    def _mark(self) -> None:
        if self._is_cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._seconds[self._stack[-1]] += now - self._last
        self._last = now

    def seconds(self) -> dict[str, float]:
        """The phases so far and "other", in all the time since construction."""
        self._mark()
        return dict(self._seconds)


def peak_memory() -> dict[str, int]:
    """The most bytes this process has had of "main" memory (Linux: or its parent before) and torch of "gpu"'s."""
    main = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"main": main} | ({"gpu": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {})


class Energy:
    """Joules since construction, of CPU packages (RAPL) with all that runs on them; a GPU's are not counted."""

    def __init__(self, powercap: Path = Path("/sys/class/powercap")) -> None:
        """Take the first reading; most Linux machines let only root read RAPL (CVE-2020-8694)."""
        self._meters = _packages(powercap)
        self._last = {name: read() for name, (read, _) in self._meters.items()}
        self._total = 0.0
        self.meters = " and ".join(self._meters)

    def joules(self) -> float | None:
        """The energy so far, or None; to be read every 10 minutes, since RAPL starts anew after some 262 kJ."""
        for name, (read, wrap) in self._meters.items():
            with suppress(OSError):
                now = read()
                self._total += (now - self._last[name]) % wrap
                self._last[name] = now
        return self._total if self._meters else None


def _packages(powercap: Path) -> Meters:
    def read(file: Path) -> float:
        return int(file.read_text()) / 1e6

    meters: Meters = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        with suppress(OSError, ValueError):
            name = (zone / "name").read_text().strip()
            if name.startswith("package") and read(zone / "energy_uj") >= 0:  # core is a part of it, psys contains it
                meters[f"CPU {name}"] = partial(read, zone / "energy_uj"), read(zone / "max_energy_range_uj")
    return meters


@dataclass(frozen=True)
class Job:
    """What the training stage knows of this process's work; `peak_flops` is that of `matrix_rate` at `shape`."""

    steps: int
    tokens: int
    flops_per_token: float
    peak_flops: float
    shape: tuple[int, int, int]
    device: str
    checkpoints: int = 0
    resumed_from: int = 0
    unit: str = "tokens"


def table(job: Job, watch: Stopwatch, energy: Energy) -> dict[str, Any]:
    """Everything `render` shows, as plain numbers; speed and MFU are those of the training phases alone."""
    phases = watch.seconds()
    speed = job.tokens / max(1e-9, sum(phases[phase] for phase in PHASES[:4]))
    mfu = job.flops_per_token * speed / job.peak_flops if job.peak_flops else None
    measured = {"phases": phases, "tokens_per_second": speed, "mfu": mfu, "peak_memory": peak_memory()}
    return asdict(job) | measured | {"joules": energy.joules(), "meters": energy.meters}


def render(facts: dict[str, Any]) -> str:
    """The table as Markdown."""
    wall, (m, k, n) = max(1e-9, sum(facts["phases"].values())), facts["shape"]
    against = f"{facts['peak_flops'] / 1e9:,.1f} GFLOP/s, measured here at ({m} x {k}) by ({k} x {n})"
    rows = {
        "device": code(facts["device"]),
        "steps": count(facts["steps"]),
        f"real {facts['unit']} a second of training": count(facts["tokens_per_second"]),
        "MFU": f"{percent(facts['mfu'])} of {against}" if facts["mfu"] else "not known",
        **{f"peak {kind} memory": f"{size / 2**20:,.0f} MiB" for kind, size in facts["peak_memory"].items()},
        "energy": f"{facts['joules']:,.0f} J, {code(facts['meters'])}" if facts["meters"] else "not measurable here",
        "checkpoints written": count(facts["checkpoints"]),
        "resumed from": f"step {count(facts['resumed_from'])}" if facts["resumed_from"] else "the start",
    }
    times = [f"| {name} | {s:,.1f} | {percent(s / wall)} |" for name, s in facts["phases"].items() if s]
    lines = ["| phase | seconds | share |", "|---|---:|---:|", *times, f"| all | {wall:,.1f} | 100% |"]
    lines += ["", "| measure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines) + "\n"
