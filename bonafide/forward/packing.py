"""Texts end to end, never padded: how a batch is laid out, and which models can take it so.

`enable` makes any encoder whose attention goes through transformers' `AttentionInterface` take packed batches, and
proves it on the spot: without that, transformers 5 attends across packed texts in silence.
"""

from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from bonafide.datasets.ragged import Tokens
from bonafide.forward.batch import NAME, Batch
from bonafide.forward.head_rows import keep_first_rows, keep_last_rows, last_rows
from bonafide.forward.transfer import send, take
from bonafide.pretrained.padding import MISFITS
from bonafide.project.arrays import Ints

TOLERANCE = 1e-4  # of the probe's logits, fp32, of the largest above 1: attention across texts moves them by 1e-2
ALONE = 1e-5  # of those of a text alone and among others, of which it may see nothing
LOW_TOLERANCE = 0.1  # of those in bf16: it rounds to 0.4 % again and again
PROBED = 16  # positions that a model has at least

READINGS = (  # how the row of a text that a head reads is found, and whether it is the last one
    (partial(keep_first_rows, early=True), False),
    (partial(keep_first_rows, early=False), False),
    (partial(keep_last_rows, early=True), True),
    (partial(keep_last_rows, early=False), True),
)

_first_positions: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def pack(tokens: Tokens, rows: Ints, model: Any, lengths: Ints | None = None) -> Batch:
    """Lay texts `rows`, which must ascend in length, end to end; or so many tokens from where each begins."""
    device, lengths = next(model.parameters()).device, tokens.lengths[rows] if lengths is None else lengths
    firsts, total = np.cumsum(lengths) - lengths, int(lengths.sum())
    texts, counts, first, begin = send(np.stack([rows, lengths, firsts, tokens.offsets[rows]]), device)
    position = torch.arange(total, device=device) - torch.repeat_interleave(first, counts, output_size=total)
    at = position + torch.repeat_interleave(begin, counts, output_size=total)
    inputs = {"input_ids": take(tokens, "input_ids", at).long(), "position_ids": position + _first_position(model)}
    below = None if tokens.prefix_activations is None else take(tokens, "prefix_activations", at)[None]
    tensors = {name: tensor[None] for name, tensor in inputs.items()}
    labels, bounds = take(tokens, "labels", texts), send(np.append(firsts, total).astype(np.int32), device)
    last = last_rows(inputs["input_ids"], first, counts, _padding(model)) if _reads_last(model) else None
    return Batch(tensors, labels, lengths.tolist(), first, last, below, bounds=bounds, longest=int(lengths.max()))


def pad(tokens: Tokens, rows: Ints, model: Any) -> Batch:
    """Texts `rows` padded to the longest: for architectures that cannot be packed.

    On the right, but for a head that reads the last token, as XLNet's does.
    """
    device, lengths = next(model.parameters()).device, tokens.lengths[rows]
    longest = int(lengths.max())
    mask = np.arange(longest) < lengths[:, None]
    if getattr(model.config, "summary_type", "") == "last":
        mask = mask[:, ::-1]
    ids = np.full(mask.shape, _padding(model) or 0, dtype=np.int64)
    ids[mask] = tokens.input_ids[places(tokens, rows)]
    tensors = {"input_ids": send(ids, device), "attention_mask": send(mask.astype(np.int64), device)}
    labels = send(tokens.labels[rows], device)
    return Batch(tensors, labels, [longest] * len(rows), torch.arange(len(rows), device=device) * longest)


def lay_out(tokens: Tokens, rows: Ints, model: Any, lengths: Ints | None = None) -> Batch:
    """Pack the texts, or so many tokens from where each begins, if the model takes that, else pad them."""
    return pack(tokens, rows, model, lengths) if _implementation(model) == NAME else pad(tokens, rows, model)


def enable(model: Any) -> bool:
    """Let a classifier take packed batches if its architecture can; whether it does is tested, not looked up."""
    return not obstacle(model)


def obstacle(model: Any) -> str:
    """Let a classifier take packed batches, or say why it cannot; then it is left as it was."""
    implementation, training = _implementation(model), model.training
    model.eval()
    try:
        return _try_all(model, implementation)
    finally:
        model.train(training)


def _try_all(model: Any, implementation: str) -> str:
    """Try each way to read a text's row, until packed texts have the logits of padded ones."""
    if getattr(model.config, "is_encoder_decoder", False):
        return "its decoder looks at the texts of its encoder"
    try:
        tokens = _probe(model)
        with torch.no_grad():
            padded = model(**pad(tokens, np.arange(len(tokens)), model).inputs).logits
            model.set_attn_implementation(NAME)
    except MISFITS as error:
        return _say(error)
    if _implementation(model) != NAME:
        return "its attention does not go through transformers' AttentionInterface"
    reasons = []
    for keep, last in READINGS:
        hooks: list[Any] = []
        model.reads_last = last
        try:
            hooks += keep(model)
            reason = _differs(model, tokens, padded)
        except MISFITS as error:
            reason = _say(error)
        if not reason:
            return ""
        reasons.append(reason)
        for hook in hooks:
            hook.remove()
    model.reads_last = False
    model.set_attn_implementation(implementation)
    return next((reason for reason in reasons if "logits" in reason), reasons[1])


@torch.no_grad()
def _differs(model: Any, tokens: Tokens, padded: torch.Tensor) -> str:
    """How packed texts differ from padded ones, or one of them among others from it alone; or nothing."""
    rows, size = np.arange(len(tokens)), padded.abs().max().clamp(min=1)
    packed = model(**pack(tokens, rows, model).inputs).logits
    if packed.shape != padded.shape:
        return "its head reads more than the first or the last token of a text"
    alone = [model(**pack(tokens, rows[row : row + 1], model).inputs).logits for row in rows]
    for other, tolerance in ((padded, TOLERANCE), (torch.cat(alone), ALONE)):
        difference = float(((packed - other).abs() / size).max())
        if not difference < tolerance:
            return f"packed texts have other logits than padded ones, by {difference:.1g}"
    if packed.is_cuda:  # as trained: the kernel may not take the size of a head
        with torch.autocast("cuda", torch.bfloat16):
            low = model(**pack(tokens, rows, model).inputs).logits
        if not bool((low - padded).abs().max() < LOW_TOLERANCE * size):
            return "packed texts have other logits than padded ones in bf16"
    return ""


def _probe(model: Any) -> Tokens:
    """Texts of several lengths, one longer than the window through which the model sees, if it has one."""
    config = model.config.get_text_config()
    window, places = (getattr(config, name, None) for name in ("sliding_window", "max_position_embeddings"))
    lengths = [2, 3, 5, 8, *([window + 5] if isinstance(window, int) else [])]
    most = places - 5 if isinstance(places, int) and places > PROBED else max(lengths)  # RoBERTa has two fewer
    lengths = sorted(min(length, most) for length in lengths)
    paddings = (config.pad_token_id, _first_position(model) - 1)  # the latter of a whole vocabulary, where one is cut
    words = [word for word in range(model.get_input_embeddings().num_embeddings) if word not in paddings]
    ids = np.random.default_rng(0).choice(words[-1000:], sum(lengths)).astype(np.int32)
    offsets, texts = np.append(0, np.cumsum(lengths)), len(lengths)
    return Tokens(ids, offsets, np.zeros(texts, np.int64), np.array(["a"] * texts))


def _say(error: Exception) -> str:
    """Ours are sentences; those of others tell what failed."""
    first = next(iter(str(error).splitlines()), type(error).__name__)[:100]
    return first if isinstance(error, AssertionError | NotImplementedError) else f"a trial ends in: {first}"


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


def _reads_last(model: Any) -> bool:
    return getattr(model, "reads_last", False)


def _padding(model: Any) -> int | None:
    return model.config.get_text_config().pad_token_id  # type: ignore[no-any-return]
