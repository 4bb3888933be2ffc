"""What a person sees of training while it runs and afterwards: the line, the curves, the trace, where the time went.

Times differ from run to run, so none of it is in an out of DVC: it goes to the run, and to `.bonafide/performance`.
"""

import time
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bonafide.engine.engine import Engine
from bonafide.engine.hyperparameters import Step
from bonafide.monitoring.performance import Energy, Job, Stopwatch, flops_per_token, matrix_rate, render, table
from bonafide.monitoring.profiler import Profiler
from bonafide.monitoring.progress import Progress
from bonafide.project.arrays import Metrics
from bonafide.project.files import write_bytes
from bonafide.project.folders import state
from bonafide.tracking.record import ENERGY
from bonafide.tracking.stage_run import attach, log_metrics

PROFILED_FROM = 4  # the first steps allocate memory


class Monitor:
    """One training process, observed."""

    def __init__(self, engine: Engine, watch: Stopwatch, done: int, profile_steps: int) -> None:
        """Measure what the machine could do at the job's shapes: 0.5 s."""
        width, inner = widths(engine.model.config)
        mean = round(float(engine.examples.lengths.mean()) * engine.recipe.batch_size)
        device = str(next(engine.model.parameters()).device)
        self.shape = (max(1, mean), width, inner)
        self.peak, self.flops = matrix_rate(device, engine.matmul.dtype, *self.shape), computed(engine)
        self.watch, self.energy, self.done = watch, Energy(), done
        self.device = f"{device}, products in {str(engine.matmul.dtype).removeprefix('torch.')}"
        self.unit = "images" if reads_pixels(engine.model) else "tokens"
        steps = engine.steps_per_epoch * engine.recipe.epochs
        self.progress = Progress(steps, done, self.flops, self.peak, self.unit)
        self.folder = state() / "performance" / f"{time.time_ns()}"
        self.profiler = Profiler(profile_steps, PROFILED_FROM, self.folder / "train.pt.trace.json.gz")
        self.steps = self.tokens = 0
        self.loss = float("nan")

    def step(self, step: Step, curve: Metrics) -> None:
        """Show a step, and send a curve point if there is one."""
        self.steps, self.tokens = self.steps + 1, self.tokens + step.tokens
        self.loss = curve.get("train_loss", self.loss if self.steps > 1 else float(step.loss))
        self.progress.update(step.step, step.tokens, self.loss, step.learning_rate)
        self.profiler.step()
        if curve:
            speed = {"tokens_per_second": self.progress.tokens_per_second, "mfu": self.progress.mfu or 0.0}
            log_metrics({f"train/{name}": value for name, value in (curve | speed).items()}, step.step)
            self.energy.joules()  # its counter wraps around

    def exclude(self, seconds: float) -> None:
        """Leave out of the speed what no step took: validation."""
        self.progress.excluded_seconds += seconds

    def close(self, checkpoints: int) -> None:
        """Write where the time went, and attach it and the trace to the run."""
        self.progress.close()
        self.profiler.close()
        job = Job(
            self.steps, self.tokens, self.flops, self.peak, self.shape, self.device, checkpoints, self.done, self.unit
        )
        facts = table(job, self.watch, self.energy)
        if facts["joules"] is not None:
            log_metrics({ENERGY: facts["joules"]}, self.progress.step)
        path = self.folder / "performance.md"
        write_bytes(path, render(facts).encode())
        for made in (path, self.profiler.path):
            if made.exists():
                attach(made)


def widths(config: Any) -> tuple[int, int]:
    """The widths of a layer's input and of the widest within it, as far as a config names them."""
    part = config.encoder if hasattr(config, "encoder") else config.get_text_config()
    width = getattr(part, "hidden_size", None)
    if not isinstance(width, int):  # networks whose layers differ: about what their products have
        return 1024, 1024
    found = (getattr(part, name, None) for name in ("intermediate_size", "hidden_dim", "encoder_ffn_dim"))
    return width, next((inner for inner in found if isinstance(inner, int)), 4 * width)


def reads_pixels(model: Any) -> bool:
    """Whether a model reads images, each of which is one unit of what is counted."""
    return bool(getattr(model, "main_input_name", "") == "pixel_values")


def computed(engine: Engine) -> float:
    """FLOPs a token of what a step computes: cached layers cost nothing, and tokens that no layer reads neither.

    Of an image those of a forward pass, as torch counts them, and twice as many backward.
    """
    if reads_pixels(engine.model):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            engine.model(**engine.task.collate(engine.given, np.arange(1), engine.model.eval()).inputs)
        return 3.0 * float(counter.get_total_flops())
    spared = (
        []
        if engine.inputs is engine.examples
        else [*engine.activation_cache.embeddings, *engine.activation_cache.layers]
    )
    read = float(engine.inputs.lengths.sum() / engine.examples.lengths.sum())
    return read * (flops_per_token(engine.model) - sum(map(flops_per_token, spared)))
