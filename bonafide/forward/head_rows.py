"""The one row of each text that a classifier reads, its first or its last: a packed batch gives no other to the head.

Encoders read the first token, decoders the last that is no padding. Where keys and values have projections of their
own, the last layer is computed for first tokens only: 14 % less work in six layers.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from bonafide.forward.batch import NAME
from bonafide.forward.packed_attention import has_key_value, layers


def keep_first_rows(model: Any, *, early: bool) -> list[Any]:
    """Hooks that make the last layer give (texts, 1, d), the first token of each text; heads read no other.

    `early`: the layer is also computed for these rows only; LookupError where it cannot be.
    """
    last = _last_layer(model)
    if not early:
        return [last.register_forward_hook(_leave_first, with_kwargs=True)]
    if not has_key_value(last):
        raise LookupError("keys and values have no projections of their own")

    def before(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        packed = kwargs.get(NAME)
        if packed is None:  # a padded batch
            return None
        hidden = args[0] if args else kwargs.pop("hidden_states")
        rows = hidden.squeeze(0)
        reduced = replace(packed, hidden=rows)  # of its own: checkpointing computes the layers before it again
        return (rows[packed.first][:, None], *args[1:]), kwargs | {NAME: reduced}

    return [last.register_forward_pre_hook(before, with_kwargs=True)]


def keep_last_rows(model: Any, *, early: bool) -> list[Any]:
    """Hooks that make the base give (texts, 1, d), the last token of each text, and the head read one of each.

    `early`: the last layer already gives no more.

    Heads of decoders look for the last token in the ids that they hand to the base: they see one of each text there,
    and the base all.
    """
    whole = unwrapped(model)

    def one_each(_module: nn.Module, _args: Any, kwargs: Any) -> Any:
        packed = kwargs.get(NAME)
        if packed is None:
            return None
        padding = whole.config.get_text_config().pad_token_id
        ids = torch.full((len(packed.lengths), 1), (padding or 0) + 1, device=packed.first.device)
        return (), kwargs | {"input_ids": ids}

    def all_of_them(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        packed = kwargs.get(NAME)
        if packed is None:
            return None
        kwargs = kwargs | {"use_cache": False}  # what is kept for words to come would be copied
        ids = packed.tensors["input_ids"]
        return ((ids, *args[1:]), kwargs) if args else (args, kwargs | {"input_ids": ids})

    whole.base_model.warn_if_padding_and_no_attention_mask = lambda *_: None  # it would wait for a GPU to look
    return [
        whole.register_forward_pre_hook(one_each, with_kwargs=True),
        whole.base_model.register_forward_pre_hook(all_of_them, with_kwargs=True),
        (_last_layer(model) if early else whole.base_model).register_forward_hook(_leave_last, with_kwargs=True),
    ]


def last_rows(ids: torch.Tensor, first: torch.Tensor, counts: torch.Tensor, padding: int | None) -> torch.Tensor:
    """(n,) int64, the row of each text's last token that is not the id `padding`; its first one if all are."""
    at, total = torch.arange(len(ids), device=ids.device), len(ids)
    text = torch.repeat_interleave(torch.arange(len(first), device=ids.device), counts, output_size=total)
    rows = at if padding is None else torch.where(ids == padding, 0, at)
    return first.scatter_reduce(0, text, rows, "amax")


def unwrapped(model: Any) -> Any:
    """The classifier, which low-rank changes may wrap."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _last_layer(model: Any) -> nn.Module:
    """The last layer, or all of them in one where they share weights; LookupError if there is neither."""
    try:
        return layers(model)[-1]
    except IndexError:
        encoder = getattr(unwrapped(model).base_model, "encoder", None)
    if encoder is None:
        raise LookupError("its layers cannot be found")
    return encoder  # type: ignore[no-any-return]


def _leave(_module: nn.Module, _args: Any, kwargs: Any, output: Any, *, which: str) -> Any:
    """What a module gives of each text's `first` or `last` row; a padded batch is left as it is."""
    packed = kwargs.get(NAME)
    if packed is None:
        return None
    rows = getattr(packed, which)
    if isinstance(output, torch.Tensor):
        return output.squeeze(0)[rows][:, None]
    kept = output[0].squeeze(0)[rows][:, None]
    if isinstance(output, tuple):
        return kept, *output[1:]
    output["last_hidden_state"] = kept
    return output


_leave_first, _leave_last = partial(_leave, which="first"), partial(_leave, which="last")
