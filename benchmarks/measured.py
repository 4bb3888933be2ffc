"""One training run in a process of its own, as `benchmarks.training` asks for it: its speed, memory and score."""

import json
import math
import resource
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader

from benchmarks.job import Figures, Job, Meter, Rows
from benchmarks.peers import ARMS
from bonafide.datasets import ragged
from bonafide.datasets.ragged import Tokens
from bonafide.params.load import load_params
from bonafide.pretrained import tokenizer
from bonafide.project import environment
from bonafide.tasks.classification.train import validation_metrics

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Spec:
    """What the parent process asks for."""

    arm: str
    data: Path
    """A project in which tokenize was run."""
    steps: int
    """Optimiser steps, the untimed first ones included."""
    warmup: int = 4
    """Steps before the clock starts."""
    rows: int | None = None
    """The first so many of a fixed shuffle of the training rows, None: all, in their order."""
    tokens: Path | None = None
    """A folder of other training rows, with labels 0 and 1."""
    seed: int = 1
    device: str = "cpu"
    score: bool = False
    """Whether to score the test split."""
    processes: int = 1


def training_rows(spec: Spec) -> Tokens:
    """The rows that a spec asks for."""
    tokens = ragged.read_tokens(spec.tokens or spec.data / "data/tokenized/train")
    if spec.rows is None:
        return tokens
    chosen = np.random.default_rng(0).permutation(len(tokens))[: spec.rows]
    texts = [tokens.input_ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist() for row in chosen]
    return ragged.pack(texts, tokens.labels[chosen], tokens.ids[chosen].tolist())


def texts_of(data: Path, tokens: Tokens) -> list[str]:
    """The texts that `tokens` was made of."""
    table = pq.read_table(data / "data/validated/train.parquet", columns=["id", "text"])
    texts = dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    return [texts[row] for row in tokens.ids.tolist()]


def measure(spec: Spec) -> Figures:
    """Run an arm in this process and return its figures; peak memory is the process's, or the GPU's."""
    params = load_params(ROOT / "params.yaml")
    torch.set_num_threads(params.threads)
    tokenized = spec.data / "data/tokenized"
    labels = json.loads((tokenized / "labels.json").read_text(encoding="utf-8"))
    processor = tokenizer.load(tokenized / "processor")
    began = time.perf_counter()
    tokens = training_rows(spec)
    job = Job(
        base=spec.data / "models/base",
        processor=processor,
        labels=labels,
        tokens=tokens,
        recipe=params.train,
        max_length=params.tokenize.max_length,
        steps=spec.steps,
        seed=spec.seed,
        device=spec.device,
        processes=spec.processes,
        meter=Meter(spec.device, spec.warmup, spec.steps),
        texts=partial(texts_of, spec.data, tokens),
    )
    model = ARMS[spec.arm](job)
    figures = job.meter.figures(began) | {"peak_mb": peak_mb(spec.device), "weights": token_weights(model)}
    figures["gemm_gflops"] = gemm_gflops(model.config, figures["tokens_per_step"], spec.device)
    if spec.score:
        figures["f1_macro"] = f1_macro(model, ragged.read_tokens(tokenized / "test"), processor)
    return figures | {"machine": environment.fingerprint(params.threads)}


@torch.inference_mode()
def f1_macro(model: Any, tokens: Tokens, processor: Any) -> float:
    """The score of a model on a split, in one way for all arms: fp32, 64 texts at a time, padded."""
    from transformers import DataCollatorWithPadding

    model.eval()
    loader = DataLoader(Rows(tokens), batch_size=64, collate_fn=DataCollatorWithPadding(processor))
    parts = []
    for batch in loader:
        logits = model(**{name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}).logits
        parts.append(logits.double().softmax(dim=-1).cpu().numpy())
    return validation_metrics(tokens, np.concatenate(parts))["f1_macro"]


def peak_mb(device: str) -> float:
    """The most memory this process held so far."""
    if device == "cuda":
        return float(torch.cuda.max_memory_reserved() / 1e6)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def token_weights(model: Any) -> int:
    """Weights of the matrices that every token goes through: no embeddings, pooler and head."""
    encoder = getattr(model, model.base_model_prefix)
    linear = (part for name, part in encoder.named_modules() if "pooler" not in name)
    return sum(part.weight.numel() for part in linear if isinstance(part, torch.nn.Linear))


def gemm_gflops(config: Any, tokens_per_step: float, device: str) -> float:
    """The best of ten rates of torch.mm: fp32 at the job's own shape on a CPU, large bf16 ones on a GPU."""
    rows, inner, columns = round(tokens_per_step), config.hidden_size, getattr(config, "intermediate_size", 0)
    if device == "cuda":
        rows = inner = columns = 8192
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    left, right = (torch.randn(shape, device=device, dtype=kind) for shape in ((rows, inner), (inner, columns)))
    out = torch.empty((rows, columns), device=device, dtype=kind)
    best = math.inf
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(10):
            torch.mm(left, right, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - began) / 10)
    return float(2 * rows * inner * columns / best / 1e9)
