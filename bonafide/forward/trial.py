"""Whether a model can take packed batches: tried out, not looked up.

Our attention (`packed_attention`) and hooks for what else of a model reads a text's rows stay where packed texts then
have the logits of padded ones, and each text those that it has alone; a model that fails is left as it was.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bonafide.forward.batch import PACKED
from bonafide.pretrained.padding import MISFITS
from bonafide.project.arrays import Ints

TOLERANCE = (
    1e-4  # of fp32 logits, packed against padded, relative to the largest above 1: attention across texts is 1e-2
)
ALONE_TOLERANCE = 1e-5  # of a text alone against among others, of which it may see nothing
PROBE_LENGTHS = (2, 3, 5, 8)
PROBE_POSITIONS = 16  # positions that every model has

Hooks = Callable[[Any], Sequence[Any]]
"""Adds hooks to a model; returns their handles."""
Logits = Callable[[Ints], torch.Tensor]
"""The logits of a batch of some probe texts, by number: (rows, k), text after text."""


def try_packed(model: Any, ways: Sequence[Hooks], padded: Logits, packed: Logits, texts: int) -> str:
    """Keep our attention and the first of several sets of hooks that work, or return the reason why none does."""
    implementation, training, rows = attention_of(model), model.training, np.arange(texts)
    model.eval()
    try:
        with torch.no_grad():
            expected = padded(rows)
            model.set_attn_implementation(PACKED)
            if attention_of(model) != PACKED:
                return "its attention does not go through transformers' AttentionInterface"
            reasons = []
            for add_hooks in ways:
                reasons.append(_try_hooks(model, add_hooks, packed, expected, rows))
                if not reasons[-1]:
                    return ""
    except MISFITS as error:
        return _reason(error)
    finally:
        model.train(training)
    model.set_attn_implementation(implementation)
    return next((reason for reason in reasons if "logits" in reason), reasons[min(1, len(reasons) - 1)])


def _try_hooks(model: Any, add_hooks: Hooks, packed: Logits, expected: torch.Tensor, rows: Ints) -> str:
    """Why packed texts differ with some hooks, which are then taken away, or nothing."""
    hooks: list[Any] = []
    try:
        hooks += add_hooks(model)
        reason = _find_difference(packed, expected, rows)
    except MISFITS as error:
        reason = _reason(error)
    for hook in hooks if reason else ():
        hook.remove()
    return reason


def _find_difference(packed: Logits, padded: torch.Tensor, rows: Ints) -> str:
    """How packed texts differ from padded ones, or one of them among others from it alone; or nothing."""
    found, size = packed(rows), padded.abs().max().clamp(min=1)
    if found.shape != padded.shape:
        return "its head reads more than the first or the last token of a text"
    alone = [packed(rows[row : row + 1]) for row in rows]
    for other, tolerance in ((padded, TOLERANCE), (torch.cat(alone), ALONE_TOLERANCE)):
        difference = float(((found - other).abs() / size).max())
        if not difference < tolerance:
            return f"packed texts have other logits than padded ones, by {difference:.1g}"
    return ""


def probe_lengths(config: Any) -> list[int]:
    """Of texts of several lengths, one longer than the window through which a model sees, if it has one."""
    window, positions = (getattr(config, name, None) for name in ("sliding_window", "max_position_embeddings"))
    lengths = [*PROBE_LENGTHS, *([window + 5] if isinstance(window, int) else [])]
    known = isinstance(positions, int) and positions > PROBE_POSITIONS
    most = positions - 5 if known else max(lengths)  # type: ignore[operator]  # RoBERTa has two fewer
    return sorted(min(length, most) for length in lengths)


def probe_ids(model: Any, tokens: int, without: Sequence[int | None]) -> Ints:
    """(tokens,) int64, random words of the last thousand but for some, which tell padding."""
    words = [word for word in range(model.get_input_embeddings().num_embeddings) if word not in without]
    return np.random.default_rng(0).choice(words[-1000:], tokens)


def attention_of(model: Any) -> str:
    """The name in transformers of the attention that a model computes."""
    return str(model.config._attn_implementation)  # noqa: SLF001 - transformers has a setter and no getter


def _reason(error: Exception) -> str:
    """Our own errors are sentences; those of others tell what failed."""
    first = next(iter(str(error).splitlines()), type(error).__name__)[:100]
    return first if isinstance(error, AssertionError | NotImplementedError) else f"a trial ends in: {first}"
