"""Batches of texts laid end to end, without padding; and which models can take them.

Stock transformers attends across packed texts without a word. `try_packing` sets our attention (`packed_attention`)
and a pooling of each text's first or last token (`token_pooling`), and keeps them only if packed texts then have the
logits of padded ones. All other models get padded batches.
"""

from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bonafide.datasets.ragged import Tokens
from bonafide.forward.batch import PACKED, Batch
from bonafide.forward.token_pooling import last_token_rows, pool_first_token, pool_last_token
from bonafide.pretrained.padding import MISFITS
from bonafide.project.arrays import Ints

TOLERANCE = (
    1e-4  # of fp32 logits, packed against padded, relative to the largest above 1: attention across texts is 1e-2
)
ALONE_TOLERANCE = 1e-5  # of a text alone against among others, of which it may see nothing
PROBE_POSITIONS = 16  # positions that every model has

POOLINGS = (  # hooks to try, the cheapest first, and whether they need the row of each text's last token
    (partial(pool_first_token, early=True), False),
    (partial(pool_first_token, early=False), False),
    (partial(pool_last_token, early=True), True),
    (partial(pool_last_token, early=False), True),
)

_first_positions: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def make_batch(tokens: Tokens, rows: Ints, model: Any) -> Batch:
    """A batch of texts `rows`, ascending in length: packed if the model takes that, else padded."""
    return pack(tokens, rows, model) if _implementation(model) == PACKED else pad(tokens, rows, model)


def pack(tokens: Tokens, rows: Ints, model: Any) -> Batch:
    """Lay texts `rows`, which must ascend in length, end to end; positions begin anew with each text."""
    send, lengths = partial(_send, device=next(model.parameters()).device), tokens.lengths[rows]
    at, firsts = token_indices(tokens, rows), np.cumsum(lengths) - lengths
    ids = tokens.input_ids[at].astype(np.int64)
    positions = np.arange(len(at)) - np.repeat(firsts, lengths) + _first_position(model)
    cached = tokens.prefix_activations
    return Batch(
        {"input_ids": send(ids[None]), "position_ids": send(positions[None])},
        labels=send(tokens.labels[rows]),
        lengths=lengths.tolist(),
        first=send(firsts),
        last=send(last_token_rows(ids, firsts, _padding(model))) if _pools_last(model) else None,
        prefix_activations=None if cached is None else send(cached[at][None]),
    )


def pad(tokens: Tokens, rows: Ints, model: Any) -> Batch:
    """Texts `rows` padded to the longest, on the right; on the left for a head that reads the last token (XLNet)."""
    device, lengths = next(model.parameters()).device, tokens.lengths[rows]
    longest = int(lengths.max())
    mask = np.arange(longest) < lengths[:, None]
    if getattr(model.config, "summary_type", "") == "last":
        mask = mask[:, ::-1]
    ids = np.full(mask.shape, _padding(model) or 0, dtype=np.int64)
    ids[mask] = tokens.input_ids[token_indices(tokens, rows)]
    tensors = {"input_ids": _send(ids, device), "attention_mask": _send(mask.astype(np.int64), device)}
    labels = _send(tokens.labels[rows], device)
    return Batch(tensors, labels, [longest] * len(rows), torch.arange(len(rows), device=device) * longest)


def _send(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on the device; on the CPU it shares the array's memory."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def token_indices(tokens: Tokens, rows: Ints) -> Ints:
    """Where the tokens of texts `rows` lie in the flat arrays of a split, end to end."""
    starts, lengths = tokens.offsets[rows], tokens.lengths[rows]
    ends = np.cumsum(lengths)
    at: Ints = np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)
    return at


def enable(model: Any) -> bool:
    """Let a classifier take packed batches if its architecture can; whether it does is tested, not looked up."""
    return not try_packing(model)


def try_packing(model: Any) -> str:
    """Let a classifier take packed batches, or leave it as it was and return the reason why it cannot."""
    implementation, training = _implementation(model), model.training
    model.eval()
    try:
        return _try_poolings(model, implementation)
    finally:
        model.train(training)


def _try_poolings(model: Any, implementation: str) -> str:
    """Try each pooling until packed texts have the logits of padded ones."""
    if getattr(model.config, "is_encoder_decoder", False):
        return "its decoder looks at the texts of its encoder"
    try:
        tokens = _probe(model)
        with torch.no_grad():
            padded = model(**pad(tokens, np.arange(len(tokens)), model).inputs).logits
            model.set_attn_implementation(PACKED)
    except MISFITS as error:
        return _reason(error)
    if _implementation(model) != PACKED:
        return "its attention does not go through transformers' AttentionInterface"
    reasons = []
    for add_hooks, last in POOLINGS:
        hooks: list[Any] = []
        model.pools_last = last
        try:
            hooks += add_hooks(model)
            reason = _find_difference(model, tokens, padded)
        except MISFITS as error:
            reason = _reason(error)
        if not reason:
            return ""
        reasons.append(reason)
        for hook in hooks:
            hook.remove()
    model.pools_last = False
    model.set_attn_implementation(implementation)
    return next((reason for reason in reasons if "logits" in reason), reasons[1])


@torch.no_grad()
def _find_difference(model: Any, tokens: Tokens, padded: torch.Tensor) -> str:
    """How packed texts differ from padded ones, or one of them among others from it alone; or nothing."""
    rows, size = np.arange(len(tokens)), padded.abs().max().clamp(min=1)
    packed = model(**pack(tokens, rows, model).inputs).logits
    if packed.shape != padded.shape:
        return "its head reads more than the first or the last token of a text"
    alone = [model(**pack(tokens, rows[row : row + 1], model).inputs).logits for row in rows]
    for other, tolerance in ((padded, TOLERANCE), (torch.cat(alone), ALONE_TOLERANCE)):
        difference = float(((packed - other).abs() / size).max())
        if not difference < tolerance:
            return f"packed texts have other logits than padded ones, by {difference:.1g}"
    return ""


def _probe(model: Any) -> Tokens:
    """Texts of several lengths, one longer than the window through which the model sees, if it has one."""
    config = model.config.get_text_config()
    window, positions = (getattr(config, name, None) for name in ("sliding_window", "max_position_embeddings"))
    lengths = [2, 3, 5, 8, *([window + 5] if isinstance(window, int) else [])]
    known = isinstance(positions, int) and positions > PROBE_POSITIONS
    most = positions - 5 if known else max(lengths)  # type: ignore[operator]  # RoBERTa has two fewer
    lengths = sorted(min(length, most) for length in lengths)
    paddings = (config.pad_token_id, _first_position(model) - 1)  # the latter of a whole vocabulary, where one is cut
    words = [word for word in range(model.get_input_embeddings().num_embeddings) if word not in paddings]
    ids = np.random.default_rng(0).choice(words[-1000:], sum(lengths)).astype(np.int32)
    offsets, texts = np.append(0, np.cumsum(lengths)), len(lengths)
    return Tokens(ids, offsets, np.zeros(texts, np.int64), np.array(["a"] * texts))


def _reason(error: Exception) -> str:
    """Our own errors are sentences; those of others tell what failed."""
    first = next(iter(str(error).splitlines()), type(error).__name__)[:100]
    return first if isinstance(error, AssertionError | NotImplementedError) else f"a trial ends in: {first}"


def _first_position(model: nn.Module) -> int:
    """RoBERTa counts positions from its padding id + 1; all others from 0. Looked for once: it takes 0.6 ms."""
    if model not in _first_positions:
        found = [m for m in model.modules() if hasattr(m, "create_position_ids_from_input_ids")]
        _first_positions[model] = int(found[0].padding_idx) + 1 if found else 0  # type: ignore[arg-type]
    return _first_positions[model]


def _implementation(model: Any) -> str:
    return str(model.config._attn_implementation)  # noqa: SLF001 - transformers has a setter and no getter


def _pools_last(model: Any) -> bool:
    return getattr(model, "pools_last", False)


def _padding(model: Any) -> int | None:
    return model.config.get_text_config().pad_token_id  # type: ignore[no-any-return]
