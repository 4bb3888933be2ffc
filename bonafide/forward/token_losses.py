"""Losses of tokens, summed by text: of translations and of language models, packed or padded."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from bonafide.forward.batch import Batch
from bonafide.project.arrays import Floats

VALUES = 2**19  # logits that are worked on at once: 2 MB


def counted_logits(outputs: Any, batch: Batch) -> torch.Tensor:
    """(counted, vocabulary) the logits of the rows that count, text after text.

    Most packed models give no others (`language_modelling`); of the rest, and of padded batches, they are selected.
    """
    found = getattr(outputs, "prediction_logits", None)  # of BertForPreTraining
    logits: torch.Tensor = (outputs.logits if found is None else found).flatten(0, 1)
    if batch.counted is None or len(logits) == len(batch.counted):
        return logits
    return logits.index_select(0, batch.counted)


def cross_entropy(outputs: Any, batch: Batch, smoothing: float = 0.0) -> torch.Tensor:
    """(n,) fp32 the sum of each text's losses, nats; `smoothing`: of targets, in training."""
    losses = _CrossEntropy.apply(counted_logits(outputs, batch), batch.targets, smoothing)  # type: ignore[no-untyped-call]
    return sum_by_text(losses, batch.counts)


class _CrossEntropy(torch.autograd.Function):
    """`nn.functional.cross_entropy` in fp32, some rows at a time, so that no more than the logits is in memory.

    With 8,000 words 5 % of a step are saved. All is computed row by row: no row's bits depend on the others.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
        ctx.save_for_backward(logits, targets)
        ctx.smoothing, ctx.parts = smoothing, max(1, logits.numel() // VALUES)
        losses = []
        for rows, words in zip(*(torch.tensor_split(x, ctx.parts) for x in (logits, targets)), strict=True):
            found = torch.log_softmax(rows, -1, dtype=torch.float32)
            losses.append((smoothing - 1) * found.gather(1, words[:, None]).squeeze(1))
            if smoothing:
                losses[-1] -= smoothing * found.mean(1)
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, targets = ctx.saved_tensors
        out = torch.empty_like(logits)
        split = (torch.tensor_split(x, ctx.parts) for x in (logits, targets, grads[0], out))
        for rows, words, grad, target in zip(*split, strict=True):
            found = torch.softmax(rows, -1, dtype=torch.float32).sub_(ctx.smoothing / logits.shape[1])
            found[torch.arange(len(words)), words] -= 1 - ctx.smoothing
            target.copy_(found.mul_(grad[:, None]))
        return out, None, None


def nats_and_hits(outputs: Any, batch: Batch) -> Floats:
    """(n, 2) float64 of each text: nats, and how many targets are the most likely token."""
    logits = counted_logits(outputs, batch).float()
    nats = nn.functional.cross_entropy(logits, batch.targets, reduction="none")
    hits = logits.argmax(-1).eq(batch.targets)
    sums = [sum_by_text(values.double(), batch.counts) for values in (nats, hits)]
    return torch.stack(sums, dim=1).cpu().numpy()


def sum_by_text(values: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """(n,) the sums of `counts` values each, in fp64 and rounded once: no text's sum depends on those beside it.

    index_add adds one value after the other on the CPU, whatever lies around them; cumsum would not.
    """
    of = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(values.device)
    sums = torch.zeros(len(counts), dtype=torch.float64, device=values.device)
    return sums.index_add(0, of, values.double()).to(values.dtype)
