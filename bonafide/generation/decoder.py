"""An encoder-decoder model, step by step: sources are encoded once, and a step writes one token of every beam.

All beams of a source share its keys and values: its encoder's, which are never copied, and those of what is written so
far. A step adds a slot a beam to the latter and moves none: a mask says which slots are a beam's own ancestors, so that
beams which change parents cost a gather of that mask, where transformers copies both caches. It is for models whose
attention goes through transformers' AttentionInterface (Marian, BART, mBART, M2M100, Pegasus, T5).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.cache_utils import Cache, DynamicLayer, EncoderDecoderCache

from bonafide.generation.cache import SharedLayer, fold

STEP = 8  # tokens: sources are padded to the next multiple, alone as in any batch
BEAMS = "beams"  # the attention's name in transformers


class Decoder:
    """One batch of sources, and the beams of each."""

    def __init__(self, model: Any, sources: Sequence[Sequence[int]]) -> None:
        """Encode sources (token ids, none empty), padded on the right; within `decoding(model, BEAMS)`."""
        self.model, device = model, next(model.parameters()).device
        padded = nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in sources], batch_first=True, padding_value=-1)
        padded = nn.functional.pad(padded, (0, -padded.shape[1] % STEP), value=-1).to(device)
        self.mask = _additive(padded >= 0)[:, None, None]
        ids = padded.masked_fill(padded < 0, model.config.pad_token_id)
        encoded = model.get_encoder()(input_ids=ids, attention_mask=self.mask).last_hidden_state
        self.encoder_outputs = (encoded,)
        self.cache = EncoderDecoderCache(
            *(Cache(layer_class_to_replicate=kind) for kind in (SharedLayer, DynamicLayer))
        )
        self.ancestors = encoded.new_zeros(len(sources), 1, 0)

    def step(self, tokens: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
        """Feed each beam its next token and return the logits of the one after it, (sources, beams, vocabulary) fp32.

        `tokens` and `parents`, (sources, beams) int64: what is written and which beam of the step before it continues.
        """
        sources, beams = tokens.shape
        self.ancestors = torch.cat(
            (
                self.ancestors.gather(1, parents[..., None].expand(-1, -1, self.ancestors.shape[2])),
                _additive(torch.eye(beams, dtype=torch.bool, device=tokens.device)).expand(sources, -1, -1),
            ),
            dim=2,
        )
        outputs = self.model(
            encoder_outputs=self.encoder_outputs,
            attention_mask=self.mask,
            decoder_input_ids=tokens.reshape(-1, 1),
            decoder_attention_mask=self.ancestors[:, None],
            past_key_values=self.cache,
        )
        return outputs.logits.view(sources, beams, -1).float()  # type: ignore[no-any-return]

    def keep(self, sources: torch.Tensor) -> None:
        """Go on with some of the sources (int64 indices) and forget the others."""
        self.mask, self.ancestors = self.mask[sources], self.ancestors[sources]
        self.encoder_outputs = (self.encoder_outputs[0][sources],)
        self.cache.reorder_cache(sources)


def _additive(seen: torch.Tensor) -> torch.Tensor:
    """0 where a bool mask is true, -inf elsewhere."""
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, -torch.inf)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    position_bias: torch.Tensor | None = None,
    scaling: float = 1.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of all beams of a source on the keys that they share: the beams are its queries.

    Products of matrices that lie alike, so that no source's bits depend on the others: torch's own attention and
    `matmul` choose by the number of sources.
    """
    sources, beams = len(key), len(query) // len(key)
    queries = fold(query, sources).contiguous()
    if position_bias is not None:  # T5's
        if module.is_causal:  # of each position, which has a slot for every beam
            positions = (torch.arange(key.shape[2], device=key.device) + beams - 1) // beams
            position_bias = position_bias[..., positions]
        attention_mask = attention_mask + position_bias
    scores = torch.bmm(queries.flatten(0, 1), _matrices(key).transpose(1, 2)).view(*queries.shape[:3], -1)
    weights = scores.mul_(scaling).add_(attention_mask).softmax(-1)
    out = torch.bmm(weights.flatten(0, 1), _matrices(value)).view_as(queries)
    return out.unflatten(2, (beams, -1)).permute(0, 2, 3, 1, 4).flatten(0, 1), None  # type: ignore[no-untyped-call]


def _matrices(x: torch.Tensor) -> torch.Tensor:
    """(n, heads, tokens, d) to (n x heads, tokens, d), rows end to end: no copy of a cache."""
    return (x if x.stride(2) == x.shape[3] else x.contiguous()).flatten(0, 1)


AttentionInterface.register(BEAMS, attend)
