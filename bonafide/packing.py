"""Texts end to end, never padded: how a batch is laid out, and which models can take it so.

`enable` makes any encoder whose attention goes through transformers' `AttentionInterface` take packed batches, and
proves it on the spot: without that, transformers 5 attends across packed texts in silence.
"""

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from bonafide import attention
from bonafide.batch import NAME, Batch
from bonafide.ragged import Tokens
from bonafide.resident import send, take
from tasks import Ints

MISFITS = (AttributeError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)  # of a probe: it cannot
TOLERANCE = 1e-4  # of the probe's logits, fp32: attention across texts moves them by 1e-2 and more

LOW_TOLERANCE = 0.1  # of those in bf16, or of the largest above 1: it rounds to 0.4 % again and again

_first_positions: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def pack(tokens: Tokens, rows: Ints, model: Any, lengths: Ints | None = None) -> Batch:
    """Lay texts `rows`, which must ascend in length, end to end; or so many tokens from where each begins."""
    device, lengths = next(model.parameters()).device, tokens.lengths[rows] if lengths is None else lengths
    firsts, total = np.cumsum(lengths) - lengths, int(lengths.sum())
    texts, counts, first, begin = send(np.stack([rows, lengths, firsts, tokens.offsets[rows]]), device)
    position = torch.arange(total, device=device) - torch.repeat_interleave(first, counts, output_size=total)
    at = position + torch.repeat_interleave(begin, counts, output_size=total)
    inputs = {"input_ids": take(tokens, "input_ids", at).long(), "position_ids": position + _first_position(model)}
    below = None if tokens.below is None else take(tokens, "below", at)[None]
    tensors = {name: tensor[None] for name, tensor in inputs.items()}
    labels, bounds = take(tokens, "labels", texts), send(np.append(firsts, total).astype(np.int32), device)
    return Batch(tensors, labels, lengths.tolist(), first, below, bounds=bounds, longest=int(lengths.max()))


def pad(tokens: Tokens, rows: Ints, model: Any) -> Batch:
    """Texts `rows` padded to the longest: for architectures that cannot be packed.

    On the right, but for a head that reads the last token, as XLNet's does.
    """
    device, lengths = next(model.parameters()).device, tokens.lengths[rows]
    longest = int(lengths.max())
    mask = np.arange(longest) < lengths[:, None]
    if getattr(model.config, "summary_type", "") == "last":
        mask = mask[:, ::-1]
    ids = np.full(mask.shape, model.config.get_text_config().pad_token_id or 0, dtype=np.int64)
    ids[mask] = tokens.input_ids[places(tokens, rows)]
    tensors = {"input_ids": send(ids, device), "attention_mask": send(mask.astype(np.int64), device)}
    labels = send(tokens.labels[rows], device)
    return Batch(tensors, labels, [longest] * len(rows), torch.arange(len(rows), device=device) * longest)


def lay_out(tokens: Tokens, rows: Ints, model: Any, lengths: Ints | None = None) -> Batch:
    """Pack the texts, or so many tokens from where each begins, if the model takes that, else pad them."""
    return pack(tokens, rows, model, lengths) if _implementation(model) == NAME else pad(tokens, rows, model)


def enable(model: Any) -> bool:
    """Let a classifier take packed batches if its architecture can; whether it does is tested, not looked up."""
    implementation = _implementation(model)
    tokens = Tokens(np.arange(4, 14, dtype=np.int32), np.array([0, 2, 5, 10]), np.zeros(3, np.int64), np.array(["abc"]))
    rows, training = np.arange(3), model.training
    model.eval()
    hooks: list[Any] = []
    try:
        with torch.no_grad():
            padded = model(**pad(tokens, rows, model).inputs).logits
            model.set_attn_implementation(NAME)
            hooks += attention.keep_first_rows(model)
            packed = model(**pack(tokens, rows, model).inputs).logits
            works = packed.shape == padded.shape and bool((packed - padded).abs().max() < TOLERANCE)
            if works and packed.is_cuda:  # as trained: the kernel may not take the size of a head
                with torch.autocast("cuda", torch.bfloat16):
                    low = model(**pack(tokens, rows, model).inputs).logits
                works = bool((low - padded).abs().max() < LOW_TOLERANCE * padded.abs().max().clamp(min=1))
    except MISFITS:
        works = False
    if not works:
        model.set_attn_implementation(implementation)
        for hook in hooks:
            hook.remove()
    model.train(training)
    return works


def places(tokens: Tokens, rows: Ints) -> Ints:
    """Where the tokens of texts `rows` lie in the flat arrays, end to end."""
    starts, lengths = tokens.offsets[rows], tokens.lengths[rows]
    ends = np.cumsum(lengths)
    at: Ints = np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)
    return at


def _first_position(model: nn.Module) -> int:
    """RoBERTa counts positions from its padding id + 1; all others from 0. Looked for once: it takes 0.6 ms."""
    if model not in _first_positions:
        found = [m for m in model.modules() if hasattr(m, "create_position_ids_from_input_ids")]
        _first_positions[model] = int(found[0].padding_idx) + 1 if found else 0  # type: ignore[arg-type]
    return _first_positions[model]


def _implementation(model: Any) -> str:
    return str(model.config._attn_implementation)  # noqa: SLF001 - transformers has a setter and no getter
