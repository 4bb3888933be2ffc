"""Attention within each text of a packed batch, registered with transformers under the name `packed`.

A batch's texts lie end to end, ascending in length, so that texts of equal length are neighbours; a decoder that has
an encoder also attends from each translation to its text (`Spans`). Short texts on a CPU go through `block_attention`;
all others through torch's scaled-dot-product attention, a call for each run of equally long texts: reshaped views, so
that there is neither a mask nor padding. Whatever else a model asks of its attention (scale, window, causality, a cap
on scores, shared key-value heads) is done here or refused, never ignored.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AttentionInterface

from bonafide.forward import block_attention
from bonafide.forward.batch import PACKED, Batch
from bonafide.forward.spans import Spans
from bonafide.project.errors import InputError

KEY_VALUE = (("key", "value"), ("k_lin", "v_lin"))  # BERT, RoBERTa and ELECTRA; DistilBERT
IGNORED = frozenset(  # arguments that models hand on to attention and that change nothing in it
    (
        *("position_ids", "cache_position", "use_cache", "return_dict", "deterministic"),
        *("output_attentions", "output_hidden_states", "output_router_logits"),
    )
)
PADDING_MASK_DIMS = 2  # of a mask that only tells padding, which a packed batch has none of


class AttentionInputs(NamedTuple):
    """What attention within texts works on."""

    query: torch.Tensor
    """(queries, heads, d)."""
    key: torch.Tensor
    """(keys, heads, d)."""
    value: torch.Tensor
    """As key."""
    scale: float | None = None
    """Of scores; None: 1 / sqrt(d)."""
    window: int | None = None
    """Tokens to each side that are seen; None: all."""
    causal: bool = False
    """Whether a token sees none after it."""
    cap: float | None = None
    """Scores become cap * tanh(score / cap) (Gemma 2); None: they are free."""


class AttentionOptions(NamedTuple):
    """What a module asks of its attention, by transformers' names."""

    scaling: float | None = None
    sliding_window: int | None = None
    """Tokens that are seen, the token itself among them."""
    is_causal: bool | None = None
    """None: as the module says."""
    softcap: float | None = None
    dropout: float = 0.0


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    packed: Batch | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of query, key and value (1, heads, tokens, d) within each text; returns (1, tokens, heads, d).

    Keys and values may have fewer heads, each for a group of the query's. In a last layer that has queries of first
    tokens only (`token_pooling`) the query is (texts, heads, 1, d) and the result (texts, 1, heads, d).
    NotImplementedError for what it does not know.
    """
    assert packed is not None, "the model does not hand its keyword arguments on to attention"  # noqa: S101
    scale, window, causal, cap = _read_options(module, attention_mask, options)
    if packed.hidden is not None:
        if causal or window is not None:
            raise NotImplementedError("its first tokens do not see all of a text")
        heads = query.shape[1]
        names = _key_value(module)
        key, value = (getattr(module, name)(packed.hidden).unflatten(-1, (heads, -1)) for name in names or ())
        return _attend(AttentionInputs(query.squeeze(2), key, value, scale, cap=cap), packed.firsts)[:, None], None
    # squeeze, not an index, whose gradient would be zeros that are made and copied into: 2 % of a step
    query, key, value = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    inputs = _repeat_key_value_heads(AttentionInputs(query, key, value, scale, window, causal, cap))
    return _attend(inputs, _spans(module, packed, causal=causal))[None], None


def _spans(module: nn.Module, packed: Batch, *, causal: bool) -> Spans:
    """Of texts that see themselves, or in a decoder that has an encoder, translations that see themselves or texts.

    Such a decoder's attention to itself is causal, and the only one that is.
    """
    if packed.translations is None:
        return packed.texts
    if causal:
        return packed.translations
    return packed.crossings if getattr(module, "is_decoder", False) else packed.texts


def _read_options(
    module: nn.Module, mask: torch.Tensor | None, options: dict[str, Any]
) -> tuple[float | None, int | None, bool, float | None]:
    """Scale, window, causality and cap, as `AttentionInputs` has them."""
    given = {name: value for name, value in options.items() if value is not None and name not in IGNORED}
    if mask is not None and mask.ndim > PADDING_MASK_DIMS:
        given["a mask of its own"] = mask
    unknown = [name for name in given if name not in AttentionOptions._fields]
    if unknown:
        raise NotImplementedError(f"its attention takes {unknown[0]}")
    known = AttentionOptions(**given)
    if known.dropout:
        raise InputError(f"{type(module).__name__} drops {known.dropout:g} of its attention, which packed texts cannot")
    window = known.sliding_window - 1 if known.sliding_window else None
    causal = bool(getattr(module, "is_causal", False) if known.is_causal is None else known.is_causal)
    return known.scaling, window, causal, known.softcap


def _repeat_key_value_heads(inputs: AttentionInputs) -> AttentionInputs:
    """The same with a key and a value for each head of the query."""
    groups = inputs.query.shape[1] // inputs.key.shape[1]
    if groups == 1:
        return inputs
    key, value = (x[:, :, None].expand(-1, -1, groups, -1).flatten(1, 2) for x in (inputs.key, inputs.value))
    return inputs._replace(key=key, value=value)


def _attend(inputs: AttentionInputs, spans: Spans) -> torch.Tensor:
    """Attention in the query's shape, but as wide as values; so are the results of all functions below."""
    query, _, value, *_ = inputs
    if query.shape[-1] != value.shape[-1]:
        return _attend(_widen(inputs), spans)[..., : value.shape[-1]]
    if inputs.cap is not None:
        return attend_capped(inputs, spans)
    return (attend_by_run if query.is_cuda else attend_short_in_blocks)(inputs, spans)


def _widen(inputs: AttentionInputs) -> AttentionInputs:
    """The same with zeros where queries and keys, or values, are narrower: torch's attention wants them equal."""
    query, key, value, scale, *_ = inputs
    scale, width = query.shape[-1] ** -0.5 if scale is None else scale, max(query.shape[-1], value.shape[-1])
    query, key, value = (nn.functional.pad(x, (0, width - x.shape[-1])) for x in (query, key, value))
    return inputs._replace(query=query, key=key, value=value, scale=scale)


def attend_short_in_blocks(inputs: AttentionInputs, spans: Spans) -> torch.Tensor:
    """Short texts in blocks; the others, and those that a window cuts, run by run."""
    query, key, value, scale, window, causal, _ = inputs
    low = spans.low_precision and value.dtype == torch.bfloat16
    dtype, most = (value.dtype, block_attention.LONG) if low else (torch.float32, block_attention.SHORT)
    few, rest, by_query, by_key = spans.parts(most)
    uncut = window is None or window >= most - 1
    invariant = partial(block_attention.is_batch_invariant, *query.shape[1:], dtype, cross=spans.is_cross)
    if not uncut or not few.queries or not invariant():
        return attend_by_run(inputs, spans)
    blocks = few.blocks(query.shape[1], dtype, causal=causal)
    if not rest.queries:
        return block_attention.attend(query, key, value, blocks, scale)
    moved = (_Reordered.apply(x, order) for x, order in ((query, by_query), (key, by_key), (value, by_key)))  # type: ignore[no-untyped-call]
    queries, keys = sum(few.queries), sum(few.keys)
    (q, q_rest), (k, k_rest), (v, v_rest) = (
        torch.split(x, [rows, len(x) - rows]) for x, rows in zip(moved, (queries, keys, keys), strict=True)
    )
    others = attend_by_run(inputs._replace(query=q_rest, key=k_rest, value=v_rest), rest)
    out = torch.cat([block_attention.attend(q, k, v, blocks, scale), others])
    return _Reordered.apply(out, None if by_query is None else by_query.argsort())  # type: ignore[no-any-return, no-untyped-call]


class _Reordered(torch.autograd.Function):
    """The rows of a tensor in another order, each once: so that backward moves rows too, where torch's adds them."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
        ctx.order = order
        return x if order is None else x.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0] if ctx.order is None else grads[0].index_select(0, ctx.order.argsort()), None


def attend_by_run(inputs: AttentionInputs, spans: Spans) -> torch.Tensor:
    """Torch's attention over each run of equally long texts: views only, no padding, a mask only for a window."""
    query, key, value, scale, window, causal, _ = inputs
    outs = []
    rows, sizes = ([n * run[side] for n, *run in spans.runs] for side in (0, 1))
    for (n, length, _), *parts in zip(
        spans.runs, torch.split(query, rows), torch.split(key, sizes), torch.split(value, sizes), strict=True
    ):
        q, k, v = (part.view(n, len(part) // n, *part.shape[1:]).transpose(1, 2) for part in parts)
        band = _band(length, window, query.device, causal=causal)
        out = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=band, is_causal=causal and band is None, scale=scale
        )
        outs.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(outs)


def attend_capped(inputs: AttentionInputs, spans: Spans) -> torch.Tensor:
    """Attention with a cap on scores, which torch's has not, text by text: so no text's bits depend on others."""
    query, _, _, scale, window, causal, cap = inputs
    assert cap is not None  # noqa: S101 - or torch's attention would do
    scale, outs = query.shape[-1] ** -0.5 if scale is None else scale, []
    split = (torch.split(x, rows) for x, rows in zip(inputs[:3], (spans.queries, spans.keys, spans.keys), strict=True))
    for length, *text in zip(spans.queries, *split, strict=True):
        q, k, v = (x.transpose(0, 1) for x in text)
        scores = cap * torch.tanh(q @ k.transpose(1, 2) * scale / cap)
        band = _band(length, length if window is None else window, query.device, causal=causal, always=causal)
        weights = (scores if band is None else scores.masked_fill(~band, -torch.inf)).softmax(-1, dtype=torch.float32)
        outs.append((weights.to(v.dtype) @ v).transpose(0, 1))
    return torch.cat(outs)


def _band(
    length: int, window: int | None, device: torch.device, *, causal: bool, always: bool = False
) -> torch.Tensor | None:
    """(length, length) bool, who sees whom through a window; None: all see all, or if `causal` all before them."""
    if not always and (window is None or length <= window + 1):
        return None
    at = torch.arange(length, device=device)
    ahead = at[:, None] - at
    return (ahead if causal else ahead.abs()).le(length if window is None else window) & ((ahead >= 0) | (not causal))


def layers(model: nn.Module) -> nn.ModuleList:
    """The encoder's layers: the list that is as long as the config says; IndexError if there is none."""
    config: Any = model.config
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == config.num_hidden_layers]
    return lists[0]


def has_key_value(module: nn.Module) -> bool:
    """Whether projections to keys and values can be told apart from all else in a layer."""
    return any(_key_value(part) for part in module.modules())


def _key_value(module: nn.Module) -> tuple[str, str] | None:
    return next((names for names in KEY_VALUE if all(hasattr(module, name) for name in names)), None)


AttentionInterface.register(PACKED, packed_attention)
