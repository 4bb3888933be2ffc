"""Texts that a causal language model goes on with, each a function of the model, its prompt and its seed alone.

Prompts of equal length go through together, so that there is no padding (transformers pads on the left, and models
differ in what they make of it). Step t of a text with seed s takes the t-th number of a stream of
Philox with key s, whatever else is in the batch.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache

from bonafide.generation.cache import GrowingLayer
from bonafide.generation.packed_weights import decoding
from bonafide.project.randomness import generator

BATCH = 64  # texts


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    seeds: Sequence[int],
    tokens: int,
    context: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> list[list[int]]:
    """At most `tokens` more token ids of each prompt, which is not empty; fewer where the end token comes.

    `seeds`: one a prompt. `context`: the most tokens that the model sees at once; where a text has grown to it, it goes
    on from its last half. `temperature`: logits are divided by it; 0 takes the most likely token. `top_p`: only the
    fewest tokens whose probabilities sum to it or more can be drawn.
    """
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    written: list[list[int]] = [[] for _ in prompts]
    with decoding(model, "sdpa"):
        for _, equal in groupby(order, key=lambda row: len(prompts[row])):
            rows = list(equal)
            for part in (rows[first : first + BATCH] for first in range(0, len(rows), BATCH)):
                draws = np.stack([generator(seeds[row], "sample").random(tokens) for row in part])
                texts = _sample(model, [prompts[row] for row in part], draws, context, temperature, top_p)
                for row, text in zip(part, texts, strict=True):
                    written[row] = text
    return written


def _sample(
    model: Any, prompts: Sequence[Sequence[int]], draws: Any, context: int, temperature: float, top_p: float
) -> list[list[int]]:
    """Go on with prompts of equal length by numbers (n, tokens) in [0, 1)."""
    device, end = next(model.parameters()).device, model.generation_config.eos_token_id
    never = sorted({*(model.generation_config.suppress_tokens or ())} | ({model.config.pad_token_id} - {end, None}))
    uniform = torch.from_numpy(draws).to(device)
    text = torch.tensor(prompts, device=device)
    length, cache, seen = text.shape[1], None, 0
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for step in range(uniform.shape[1]):
        if cache is None or text.shape[1] - seen > context:
            cache = Cache(layer_class_to_replicate=GrowingLayer)
            seen = max(0, text.shape[1] - (context if not step else context // 2))
            new = text[:, seen:]
        logits = model(new, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].double()
        logits[:, never] = -torch.inf
        new = draw(logits, uniform[:, step], temperature, top_p)[:, None]
        text = torch.cat((text, new), dim=1)
        ended |= new[:, 0] == end
        if ended.all():
            break
    return [_until(row, end) for row in text[:, length:].tolist()]


def _until(text: list[int], end: int | None) -> list[int]:
    return text[: text.index(end)] if end in text else text


def draw(logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """The token of each row, (n,) int64: where its number falls among the probabilities, the largest first.

    `logits` (n, vocabulary) float64, `uniform` (n,) float64 in [0, 1).
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    ranked, tokens = (logits / temperature).softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    mass = ranked.cumsum(dim=-1)
    kept = (mass - ranked < top_p).sum(dim=-1, keepdim=True)
    at = torch.searchsorted(mass, uniform[:, None] * mass.gather(1, kept - 1), right=True)
    return tokens.gather(1, at.minimum(kept - 1))[:, 0]
