"""Attention within each text of a packed batch, registered with transformers as `packed`.

On CUDA the variable-length kernel, in bf16; elsewhere blocks of short texts, and scaled-dot-product attention over runs
of long texts of equal length. What a model asks of its attention is known or refused, never ignored: a cap on scores
that the probe's short texts do not reach would be lost in silence.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AttentionInterface

from bonafide.forward import block_attention
from bonafide.forward.batch import NAME, Batch
from bonafide.project.errors import InputError

KEY_VALUE = (("key", "value"), ("k_lin", "v_lin"))  # BERT, RoBERTa and ELECTRA; DistilBERT
CHANGES_NOTHING = frozenset(  # what models hand on to attention, of which nothing is read
    (
        *("position_ids", "cache_position", "use_cache", "return_dict", "deterministic"),
        *("output_attentions", "output_hidden_states", "output_router_logits"),
    )
)
TELLS_PADDING = 2  # dimensions of a mask that does no more; there is none in a packed batch


class Reads(NamedTuple):
    """What attention within texts works on."""

    query: torch.Tensor
    """(tokens or texts, heads, d)."""
    key: torch.Tensor
    """(tokens, heads, d)."""
    value: torch.Tensor
    """As key."""
    scale: float | None = None
    """Of scores; None: 1 / sqrt(d)."""
    window: int | None = None
    """Tokens to each side that are seen; None: all."""
    causal: bool = False
    """Whether a token sees none after it."""
    cap: float | None = None
    """What scores come near to, but do not pass: cap * tanh(score / cap); None: they are free."""


class Asked(NamedTuple):
    """What a module asks of its attention, in transformers' words."""

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
    **asked: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of query, key and value (1, heads, tokens, d) within each text; returns (1, tokens, heads, d).

    Keys and values may have fewer heads, each for a group of the query's. In a last layer reduced by `reading` the
    query is (texts, heads, 1, d) and so is the result, transposed. NotImplementedError for what it does not know.
    """
    assert packed is not None, "the model does not hand its keyword arguments on to attention"  # noqa: S101
    scale, window, causal, cap = _understand(module, attention_mask, asked)
    if packed.hidden is not None:
        if causal or window is not None:
            raise NotImplementedError("its first tokens do not see all of a text")
        heads = query.shape[1]
        names = _key_value(module)
        key, value = (getattr(module, name)(packed.hidden).unflatten(-1, (heads, -1)) for name in names or ())
        return _within_texts(Reads(query.squeeze(2), key, value, scale, cap=cap), packed)[:, None], None
    # an index instead of squeeze would have a gradient of zeros made and copied into: 2 % of a step
    query, key, value = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    return _within_texts(_for_each_head(Reads(query, key, value, scale, window, causal, cap)), packed)[None], None


def _understand(
    module: nn.Module, mask: torch.Tensor | None, asked: dict[str, Any]
) -> tuple[float | None, int | None, bool, float | None]:
    """Scale, window, whether it is causal, and cap, as `Reads` has them."""
    given = {name: value for name, value in asked.items() if value is not None and name not in CHANGES_NOTHING}
    if mask is not None and mask.ndim > TELLS_PADDING:
        given["a mask of its own"] = mask
    unknown = [name for name in given if name not in Asked._fields]
    if unknown:
        raise NotImplementedError(f"its attention takes {unknown[0]}")
    known = Asked(**given)
    if known.dropout:
        raise InputError(f"{type(module).__name__} drops {known.dropout:g} of its attention, which packed texts cannot")
    window = known.sliding_window - 1 if known.sliding_window else None
    causal = bool(getattr(module, "is_causal", False) if known.is_causal is None else known.is_causal)
    return known.scaling, window, causal, known.softcap


def _for_each_head(reads: Reads) -> Reads:
    """The same with a key and a value for each head of the query."""
    groups = reads.query.shape[1] // reads.key.shape[1]
    if groups == 1:
        return reads
    key, value = (x[:, :, None].expand(-1, -1, groups, -1).flatten(1, 2) for x in (reads.key, reads.value))
    return reads._replace(key=key, value=value)


def _within_texts(reads: Reads, packed: Batch) -> torch.Tensor:
    """In the query's shape, but as wide as values; as all below."""
    query, _, value, *_ = reads
    if query.shape[-1] != value.shape[-1]:
        return _within_texts(_as_wide(reads), packed)[..., : value.shape[-1]]
    if reads.cap is not None:
        return by_texts(reads, packed)
    if not query.is_cuda:
        return by_length(reads, packed)
    return (variable_length if value.dtype == torch.bfloat16 else by_runs)(reads, packed)  # fp32: the probe's


def _as_wide(reads: Reads) -> Reads:
    """The same with zeros where queries and keys, or values, are narrower: the kernels want them equal."""
    query, key, value, scale, *_ = reads
    scale, width = query.shape[-1] ** -0.5 if scale is None else scale, max(query.shape[-1], value.shape[-1])
    query, key, value = (nn.functional.pad(x, (0, width - x.shape[-1])) for x in (query, key, value))
    return reads._replace(query=query, key=key, value=value, scale=scale)


def by_length(reads: Reads, packed: Batch) -> torch.Tensor:
    """Short texts, which come first, in blocks; the others, and those that a window cuts, by runs."""
    query, key, value, scale, window, causal, _ = reads
    whole = window is None or window >= block_attention.SHORT - 1
    short = packed.short if whole and block_attention.alike(*query.shape[1:]) else 0
    if not short:
        return by_runs(reads, packed)
    laid_out = packed.blocks(query.shape[1], causal=causal)
    if short == len(packed.lengths):
        return block_attention.attend(query, key, value, laid_out, scale)
    tokens = sum(packed.lengths[:short])
    firsts = tokens if packed.hidden is None else short
    cuts = ((query, firsts), (key, tokens), (value, tokens))
    (q, q_rest), (k, k_rest), (v, v_rest) = (torch.split(x, [n, len(x) - n]) for x, n in cuts)
    rest, longer = (
        reads._replace(query=q_rest, key=k_rest, value=v_rest),
        replace(packed, lengths=packed.lengths[short:]),
    )
    return torch.cat([block_attention.attend(q, k, v, laid_out, scale), by_runs(rest, longer)])


def by_runs(reads: Reads, packed: Batch) -> torch.Tensor:
    """Scaled-dot-product attention over each run of equal lengths: views only, no mask, no padding."""
    query, key, value, scale, window, causal, _ = reads
    sizes = [n * length for n, length in packed.runs]
    rows = sizes if packed.hidden is None else [n for n, _ in packed.runs]
    outs = []
    for (n, length), *parts in zip(
        packed.runs, torch.split(query, rows), torch.split(key, sizes), torch.split(value, sizes), strict=True
    ):
        q, k, v = (part.view(n, len(part) // n, *part.shape[1:]).transpose(1, 2) for part in parts)
        band = _band(length, window, query.device, causal=causal)
        out = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=band, is_causal=causal and band is None, scale=scale
        )
        outs.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(outs)


def by_texts(reads: Reads, packed: Batch) -> torch.Tensor:
    """Attention with a cap on scores, which no kernel of torch has, text after text: their bits stay their own."""
    query, _, value, scale, window, causal, cap = reads
    assert cap is not None  # noqa: S101 - or a kernel would do
    if query.is_cuda and value.dtype == torch.bfloat16:
        raise NotImplementedError("its attention caps scores")  # graphs of many texts know no single one
    scale, outs = query.shape[-1] ** -0.5 if scale is None else scale, []
    rows = packed.lengths if packed.hidden is None else [1] * len(packed.lengths)
    parts = zip(
        *(torch.split(x, n) for x, n in zip(reads[:3], (rows, *[packed.lengths] * 2), strict=True)), strict=True
    )
    for length, (q, k, v) in zip(packed.lengths, ((x.transpose(0, 1) for x in part) for part in parts), strict=True):
        scores = cap * torch.tanh(q @ k.transpose(1, 2) * scale / cap)
        band = _band(length, length if window is None else window, query.device, causal=causal, always=causal)
        chances = (scores if band is None else scores.masked_fill(~band, -torch.inf)).softmax(-1, dtype=torch.float32)
        outs.append((chances.to(v.dtype) @ v).transpose(0, 1))
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


def variable_length(reads: Reads, packed: Batch) -> torch.Tensor:
    """The CUDA kernel of torch.nn.attention.varlen, bf16; deterministic where torch is told to be."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value, scale, window, causal, _ = reads
    assert packed.bounds is not None  # noqa: S101 - every packed batch has them
    queries, keys, most = packed.bounds, packed.bounds, packed.longest
    if packed.hidden is not None:
        queries, most = torch.arange(len(keys), dtype=torch.int32, device=keys.device), 1
    before = -1 if window is None else window  # -1: unbounded
    sides = (before, 0 if causal else before)
    q, k = query.to(value.dtype), key.to(value.dtype)  # rotations may have made them fp32
    out = varlen_attn(q, k, value, queries, keys, most, packed.longest, scale=scale, window_size=sides)
    assert isinstance(out, torch.Tensor)  # noqa: S101 - a tuple only where more is asked for
    return out.to(query.dtype)


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


AttentionInterface.register(NAME, packed_attention)
