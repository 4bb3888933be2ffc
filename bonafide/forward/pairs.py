"""Texts and their translations, packed: sources end to end for the encoder, targets end to end for the decoder.

An encoder-decoder hands the batch on to its attention, of which it has three kinds: sources see themselves, targets
see what of them lies before, and their sources. Its own positions run on from text to text, and are replaced. `enable`
keeps all that where packed pairs then have the logits of padded ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bonafide.forward.batch import PACKED, Batch
from bonafide.forward.packing import indices_of, padding_of, positions_in_texts, to_device
from bonafide.forward.token_losses import counted_logits
from bonafide.forward.token_pooling import unwrapped
from bonafide.forward.trial import attention_of, probe_ids, probe_lengths, try_packed
from bonafide.project.arrays import Arrays, Ints
from bonafide.project.errors import InputError

STORED = ("source_ids", "source_offsets", "target_ids", "target_offsets", "ids")
POSITIONS = ("position_ids", "decoder_position_ids")


@dataclass(frozen=True, eq=False)
class Pairs:
    """One tokenized split of texts and their translations."""

    source_ids: npt.NDArray[np.int32]
    """(source tokens,) int32, flat."""
    source_offsets: Ints
    """(n + 1,) int64 positions in `source_ids`."""
    target_ids: npt.NDArray[np.int32]
    """(target tokens,) int32, flat; each target ends in the end token and does not begin with the start token."""
    target_offsets: Ints
    """(n + 1,) int64 positions in `target_ids`."""
    ids: npt.NDArray[np.str_]
    """(n,) row ids."""

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.ids)

    @cached_property
    def lengths(self) -> Ints:
        """(n,) tokens of both sides."""
        lengths: Ints = np.diff(self.source_offsets) + np.diff(self.target_offsets)
        return lengths

    @cached_property
    def units(self) -> Ints:
        """(n,) tokens of targets, which the loss is a mean over."""
        return np.diff(self.target_offsets)

    @property
    def arrays(self) -> Arrays:
        """As they are stored."""
        return {name: getattr(self, name) for name in STORED}

    def take(self, rows: Sequence[int] | Ints) -> "Pairs":
        """Pairs `rows` alone, in that order."""
        at = np.asarray(rows, dtype=np.int64)
        sides: list[Any] = []
        for ids, offsets in ((self.source_ids, self.source_offsets), (self.target_ids, self.target_offsets)):
            sides += [ids[indices_of(offsets, at)], np.append(0, np.cumsum(np.diff(offsets)[at]))]
        return Pairs(sides[0], sides[1], sides[2], sides[3], self.ids[at])


def make_batch(pairs: Pairs, rows: Ints, model: Any) -> Batch:
    """A batch of pairs `rows`: packed if the model takes that, else padded; every target token counts."""
    return (pack if attention_of(model) == PACKED else pad)(pairs, rows, model)


def pack(pairs: Pairs, rows: Ints, model: Any) -> Batch:
    """Lay sources end to end, and targets; positions begin anew with each."""
    send = partial(to_device, model=model)
    target = pairs.units[rows]
    source = pairs.lengths[rows] - target
    tensors = {
        "input_ids": pairs.source_ids[indices_of(pairs.source_offsets, rows)].astype(np.int64),
        "position_ids": positions_in_texts(source),
        "decoder_input_ids": _shifted(pairs, rows, model),
        "decoder_position_ids": positions_in_texts(target),
    }
    return Batch(
        {name: send(array[None]) for name, array in tensors.items()},
        labels=torch.empty(0, dtype=torch.int64),
        lengths=source.tolist(),
        first=send(np.cumsum(source) - source),
        row_counts=[[1] * len(rows), source.tolist(), target.tolist()],
        target_lengths=target.tolist(),
        targets=send(pairs.target_ids[indices_of(pairs.target_offsets, rows)].astype(np.int64)),
        counts=target.tolist(),
    )


def pad(pairs: Pairs, rows: Ints, model: Any) -> Batch:
    """Sources padded to the longest, on the right, and so targets."""
    send, n = partial(to_device, model=model), len(rows)
    target = pairs.units[rows]
    source = pairs.lengths[rows] - target
    masks = [np.arange(lengths.max()) < lengths[:, None] for lengths in (source, target)]
    sides = [np.full(mask.shape, padding_of(model) or 0, dtype=np.int64) for mask in masks]
    sides[0][masks[0]] = pairs.source_ids[indices_of(pairs.source_offsets, rows)]
    sides[1][masks[1]] = _shifted(pairs, rows, model)
    longest, widest = (mask.shape[1] for mask in masks)
    tensors = {"input_ids": sides[0], "attention_mask": masks[0].astype(np.int64), "decoder_input_ids": sides[1]}
    return Batch(
        {name: send(array) for name, array in tensors.items()},
        labels=torch.empty(0, dtype=torch.int64),
        lengths=[longest] * n,
        first=send(np.arange(n) * longest),
        row_counts=[[1] * n, [longest] * n, [widest] * n],
        targets=send(pairs.target_ids[indices_of(pairs.target_offsets, rows)].astype(np.int64)),
        counts=target.tolist(),
        counted=send(np.flatnonzero(masks[1])),
    )


def _shifted(pairs: Pairs, rows: Ints, model: Any) -> Ints:
    """What the decoder reads of targets, end to end: the start token and all tokens but the end."""
    start = model.config.decoder_start_token_id
    if start is None:
        raise InputError(f"config.json of {model.config.model_type} names no decoder_start_token_id: add it")
    at = indices_of(pairs.target_offsets, rows)
    first = np.isin(at, pairs.target_offsets[rows])
    return np.where(first, start, pairs.target_ids[at - 1]).astype(np.int64)


def enable(model: Any) -> str:
    """Let an encoder-decoder take packed batches, or leave it as it was and return the reason why it cannot."""
    if not getattr(model.config, "is_encoder_decoder", False):
        return "it has no encoder beside its decoder"
    pairs = _probe(model)

    def logits(lay_out: Any, rows: Ints) -> torch.Tensor:
        batch = lay_out(pairs, rows, model)
        return counted_logits(model(**batch.inputs), batch)

    return try_packed(model, [_add_hooks], partial(logits, pad), partial(logits, pack), len(pairs))


def _probe(model: Any) -> Pairs:
    """Pairs of several lengths, of which targets are not as long as their sources."""
    source = probe_lengths(model.config)
    target = source[::-1]
    ids = probe_ids(model, 2 * sum(source), (padding_of(model), model.config.decoder_start_token_id)).astype(np.int32)
    offsets = [np.append(0, np.cumsum(lengths)) for lengths in (source, target)]
    names = np.array(["a"] * len(source))
    return Pairs(ids[: sum(source)], offsets[0], ids[sum(source) :], offsets[1], names)


def _add_hooks(model: Any) -> list[Any]:
    """Hooks by which an encoder and a decoder count positions from the beginning of each text; no cache is kept."""
    whole = unwrapped(model)
    sides = zip((whole.get_encoder(), whole.get_decoder()), POSITIONS, strict=True)
    hooks = [hook for side, name in sides for hook in _give_positions(side, name)]
    bias = getattr(whole, "final_logits_bias", None)
    return hooks if bias is None or bias.any() else [*hooks, *_leave_out_zeros(whole)]


def _leave_out_zeros(whole: nn.Module) -> list[Any]:
    """Hooks by which a bias of zeros is a scalar for a packed batch: it would make fp32 of bf16, 5 % of a step."""
    kept: list[torch.Tensor] = []

    def leave_out(module: nn.Module, _args: Any, kwargs: Any) -> None:
        if kwargs.get(PACKED) is not None:
            kept.append(module.final_logits_bias)  # type: ignore[arg-type]
            module.final_logits_bias = kept[0].new_zeros(())

    def put_back(module: nn.Module, *_: Any) -> None:
        if kept:
            module.final_logits_bias = kept.pop()

    return [
        whole.register_forward_pre_hook(leave_out, with_kwargs=True),
        whole.register_forward_hook(put_back, always_call=True),
    ]


def _give_positions(side: nn.Module, name: str) -> list[Any]:
    given: list[torch.Tensor] = []  # positions (tokens,) of the packed batch that is under way

    def take_positions(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        given.clear()
        if kwargs.get(PACKED) is None:  # a padded batch
            return None
        given.append(kwargs[name].squeeze(0))
        rest = {key: value for key, value in kwargs.items() if key not in POSITIONS}
        return args, rest | ({"use_cache": False} if "use_cache" in rest else {})

    def hand_on(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        return (args, kwargs | {"position_ids": given[0]}) if given else None

    def select(_module: nn.Module, _args: Any, output: torch.Tensor) -> Any:
        """M2M100's table takes no positions, and gives those of as many rows from the first on."""
        return output[:, given[0]] if given else None

    hooks = [side.register_forward_pre_hook(take_positions, with_kwargs=True)]
    table: Any = getattr(side, "embed_positions", None)
    if table is None:
        return hooks
    if "position_ids" in signature(table.forward).parameters:
        return [*hooks, table.register_forward_pre_hook(hand_on, with_kwargs=True)]
    return [*hooks, table.register_forward_hook(select)]
