"""What an arm of `benchmarks.training` is given: a model, rows, a recipe, and a clock that it tells of its steps."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bonafide.datasets.ragged import Tokens
from bonafide.params.training import Recipe as Train
from bonafide.tasks.classification import train as training

Figures = dict[str, Any]
Example = dict[str, Any]
"""What HF's collators take: `input_ids`, `attention_mask` and `labels` of one text."""


@dataclass
class Meter:
    """The clock. An arm calls `batch` once per batch, in order, and `step` after each optimiser step."""

    device: str
    warmup: int
    steps: int
    tokens: list[int] = field(default_factory=list)
    losses: list[Any] = field(default_factory=list)
    times: dict[int, float] = field(default_factory=dict)

    def batch(self, tokens: int) -> None:
        """Count a batch's real tokens."""
        self.tokens.append(tokens)

    def step(self, loss: Any) -> None:
        """Note the end of a step and its loss: a number or a detached tensor, which is read after the run."""
        self.losses.append(loss)
        if (step := len(self.losses)) in (1, self.warmup, self.steps):
            if self.device == "cuda":
                torch.cuda.synchronize()
            self.times[step] = time.perf_counter()

    def figures(self, began: float) -> Figures:
        """Speed between the last warm-up step and the last step, and losses."""
        assert len(self.losses) == self.steps, f"{len(self.losses)} steps of {self.steps}"
        losses = [float(loss) for loss in self.losses]
        seconds = self.times[self.steps] - self.times[self.warmup]
        third = max(1, len(losses) // 3)
        return {
            "tokens_per_second": sum(self.tokens[self.warmup : self.steps]) / seconds,
            "tokens_per_step": float(np.mean(self.tokens[self.warmup : self.steps])),
            "set_up_s": self.times[1] - began,
            "steps": self.steps,
            "first_loss": losses[0],
            "early_loss": float(np.mean(losses[:third])),
            "late_loss": float(np.mean(losses[-third:])),
        }


@dataclass(frozen=True)
class Job:
    """What an arm trains on."""

    base: Path
    """The base model's folder."""
    processor: Any
    """The tokenizer."""
    labels: Sequence[str]
    tokens: Tokens
    """The training rows."""
    recipe: Train
    """The `train` section of params.yaml; its `epochs` does not count, `steps` does."""
    max_length: int
    steps: int
    """Optimiser steps; the schedule ends with the last. Past the end of the rows another epoch begins."""
    seed: int
    device: str
    processes: int
    meter: Meter
    texts: Callable[[], list[str]]
    """The rows' texts, for a peer that tokenizes as it goes."""

    @property
    def warmup(self) -> int:
        """Steps of rising learning rate."""
        return max(1, round(self.steps * self.recipe.warmup_ratio))

    def model(self) -> Any:
        """The base model with a fresh head of this seed, without dropout of attention probabilities."""
        torch.manual_seed(self.seed)
        return training.build_model(self.base, self.labels, self.recipe.dropout)


class Rows(torch.utils.data.Dataset[Example]):
    """Rows as HF's collators want them; padded to `length` tokens if it is not 0."""

    def __init__(self, tokens: Tokens, length: int = 0, padding: int = 0) -> None:
        """Keep the arrays as they are."""
        self.tokens, self.length, self.padding = tokens, length, padding

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> Example:
        """One row."""
        ids = self.tokens.input_ids[self.tokens.offsets[index] : self.tokens.offsets[index + 1]].tolist()
        mask, lacks = [1] * len(ids), max(0, self.length - len(ids))
        return {
            "input_ids": ids + [self.padding] * lacks,
            "attention_mask": mask + [0] * lacks,
            "labels": int(self.tokens.labels[index]),
        }


def counted(job: Job, collate: Callable[[list[Example]], Any]) -> Callable[[list[Example]], Any]:
    """`collate`, with the batch's real tokens counted."""

    def collated(examples: list[Example]) -> Any:
        job.meter.batch(sum(sum(example["attention_mask"]) for example in examples))
        return collate(examples)

    return collated
