"""Batches of texts laid end to end, without padding; and which classifiers can take them.

Stock transformers attends across packed texts without a word. `try_packing` sets our attention (`packed_attention`)
and a pooling of each text's first or last token (`token_pooling`), and keeps them only if packed texts then have the
logits of padded ones. All other models get padded batches.
"""

from collections.abc import Sequence
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
from bonafide.forward.trial import attention_of, probe_ids, probe_lengths, try_packed
from bonafide.project.arrays import Ints

POOLINGS = (  # hooks to try, the cheapest first, and whether they need the row of each text's last token
    (partial(pool_first_token, early=True), False),
    (partial(pool_first_token, early=False), False),
    (partial(pool_last_token, early=True), True),
    (partial(pool_last_token, early=False), True),
)

_first_positions: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def make_batch(tokens: Tokens, rows: Ints, model: Any) -> Batch:
    """A batch of texts `rows`, ascending in length: packed if the model takes that, else padded."""
    return pack(tokens, rows, model) if attention_of(model) == PACKED else pad(tokens, rows, model)


def pack(tokens: Tokens, rows: Ints, model: Any) -> Batch:
    """Lay texts `rows`, which must ascend in length, end to end; positions begin anew with each text."""
    send, lengths = partial(to_device, model=model), tokens.lengths[rows]
    at, firsts = token_indices(tokens, rows), np.cumsum(lengths) - lengths
    ids = tokens.input_ids[at].astype(np.int64)
    positions = positions_in_texts(lengths) + first_position(model)
    cached = tokens.prefix_activations
    return Batch(
        {"input_ids": send(ids[None]), "position_ids": send(positions[None])},
        labels=send(tokens.labels[rows]),
        lengths=lengths.tolist(),
        first=send(firsts),
        last=send(last_token_rows(ids, firsts, padding_of(model))) if _pools_last(model) else None,
        prefix_activations=None if cached is None else send(cached[at][None]),
    )


def pad(tokens: Tokens, rows: Ints, model: Any) -> Batch:
    """Texts `rows` padded to the longest, on the right; on the left for a head that reads the last token (XLNet)."""
    send, lengths = partial(to_device, model=model), tokens.lengths[rows]
    longest = int(lengths.max())
    mask = np.arange(longest) < lengths[:, None]
    if getattr(model.config, "summary_type", "") == "last":
        mask = mask[:, ::-1]
    ids = np.full(mask.shape, padding_of(model) or 0, dtype=np.int64)
    ids[mask] = tokens.input_ids[token_indices(tokens, rows)]
    tensors = {"input_ids": send(ids), "attention_mask": send(mask.astype(np.int64))}
    return Batch(tensors, send(tokens.labels[rows]), [longest] * len(rows), send(np.arange(len(rows)) * longest))


def to_device(array: npt.NDArray[Any], model: Any) -> torch.Tensor:
    """The array on the model's device; on the CPU it shares the array's memory."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(next(model.parameters()).device)


def token_indices(tokens: Tokens, rows: Ints) -> Ints:
    """Where the tokens of texts `rows` lie in the flat arrays of a split, end to end."""
    return indices_of(tokens.offsets, rows)


def indices_of(offsets: Ints, rows: Ints) -> Ints:
    """Where texts `rows` lie, end to end, in a flat array in which text i begins at offset i."""
    lengths = offsets[rows + 1] - offsets[rows]
    at: Ints = positions_in_texts(lengths) + np.repeat(offsets[rows], lengths)
    return at


def positions_in_texts(lengths: Ints) -> Ints:
    """The position of each token in its text, from 0, of texts that lie end to end."""
    at: Ints = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return at


def enable(model: Any) -> bool:
    """Let a classifier take packed batches if its architecture can; whether it does is tested, not looked up."""
    return not try_packing(model)


def try_packing(model: Any) -> str:
    """Let a classifier take packed batches, or leave it as it was and return the reason why it cannot."""
    if getattr(model.config, "is_encoder_decoder", False):
        return "its decoder looks at the texts of its encoder"

    def logits(lay_out: Any, rows: Ints) -> torch.Tensor:
        return model(**lay_out(_probe(model), rows, model).inputs).logits  # type: ignore[no-any-return]

    ways = [partial(_pool, add_hooks, last) for add_hooks, last in POOLINGS]
    texts = len(probe_lengths(model.config.get_text_config()))
    reason = try_packed(model, ways, partial(logits, pad), partial(logits, pack), texts)
    model.pools_last = not reason and _pools_last(model)
    return reason


def _probe(model: Any) -> Tokens:
    """Texts of several lengths."""
    config = model.config.get_text_config()
    lengths = probe_lengths(config)
    # the padding id of a whole vocabulary lies behind one that is cut
    ids = probe_ids(model, sum(lengths), (config.pad_token_id, first_position(model) - 1)).astype(np.int32)
    offsets, texts = np.append(0, np.cumsum(lengths)), len(lengths)
    return Tokens(ids, offsets, np.zeros(texts, np.int64), np.array(["a"] * texts))


def _pool(add_hooks: Any, last: bool, model: Any) -> Sequence[Any]:  # noqa: FBT001
    model.pools_last = last
    return add_hooks(model)  # type: ignore[no-any-return]


def first_position(model: nn.Module) -> int:
    """RoBERTa counts positions from its padding id + 1; all others from 0. Looked for once: it takes 0.6 ms."""
    if model not in _first_positions:
        found = [m for m in model.modules() if hasattr(m, "create_position_ids_from_input_ids")]
        _first_positions[model] = int(found[0].padding_idx) + 1 if found else 0  # type: ignore[arg-type]
    return _first_positions[model]


def _pools_last(model: Any) -> bool:
    return getattr(model, "pools_last", False)


def padding_of(model: Any) -> int | None:
    """The id of padding, if the model has one."""
    return model.config.get_text_config().pad_token_id  # type: ignore[no-any-return]
