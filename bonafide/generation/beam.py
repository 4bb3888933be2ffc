"""Beam search, whose finished hypotheses can be ranked by any length penalty afterwards.

A source is done when as many hypotheses have ended as it has beams, or at its limit of tokens (`early_stopping=True` of
transformers). So what is found depends on no length penalty, and one search gives the best translation of each penalty
exactly. Greedy search is one beam.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from bonafide.generation.decoder import Decoder, decoding


class Hypothesis(NamedTuple):
    """What a model wrote for one source."""

    tokens: list[int]
    """Without the start and the end token."""
    log_probability: float
    """Nats, of the tokens and of the end token, if it came."""
    ended: bool
    """Whether the end token came before the limit."""

    def score(self, length_penalty: float) -> float:
        """Log-probability over (tokens, the end included) ** length penalty."""
        return self.log_probability / (len(self.tokens) + self.ended) ** length_penalty


def translate(
    model: Any,
    sources: Sequence[Sequence[int]],
    *,
    beams: int,
    length_penalty: float,
    max_new: Callable[[int], int],
    batch: int,
) -> list[Hypothesis]:
    """The best hypothesis of each source; arguments as of `search`."""
    found = search(model, sources, beams=beams, max_new=max_new, batch=batch)
    return [best(hypotheses, length_penalty) for hypotheses in found]


def best(hypotheses: Sequence[Hypothesis], length_penalty: float) -> Hypothesis:
    """The one of highest score; of equals the first found."""
    return max(hypotheses, key=lambda hypothesis: hypothesis.score(length_penalty))


def search(
    model: Any, sources: Sequence[Sequence[int]], *, beams: int, max_new: Callable[[int], int], batch: int
) -> list[list[Hypothesis]]:
    """All finished hypotheses of each source (token ids with their end token), `beams` of them or more.

    `max_new(tokens of a source)` is the most tokens to write, the end included. Sources go through in batches by length:
    what a batch holds is a function of all sources alone.
    """
    order = np.argsort([len(source) for source in sources], kind="stable").tolist()
    found: list[list[Hypothesis]] = [[] for _ in sources]
    with decoding(model):
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            limits = [max_new(len(sources[row])) for row in rows]
            for row, hypotheses in zip(
                rows, _search(model, [sources[row] for row in rows], limits, beams), strict=True
            ):
                found[row] = hypotheses
    return found


def _search(model: Any, sources: Sequence[Sequence[int]], limits: Sequence[int], beams: int) -> list[list[Hypothesis]]:
    """Search one batch."""
    rules, decoder = Rules(model), Decoder(model, sources)
    found: list[list[Hypothesis]] = [[] for _ in sources]
    device = decoder.mask.device
    live, left = list(range(len(sources))), torch.tensor(limits, device=device)
    words = torch.full((len(sources), 1, 1), rules.start, device=device)
    parents, scores = torch.zeros_like(words[..., 0]), torch.zeros((len(sources), 1), device=device)
    while live:
        logits = decoder.step(words[..., -1], parents)
        top, parents, tokens = continuations(logits, scores, 2 * beams, rules, first=words.shape[2] == 1)
        left = left - 1
        final = (tokens == rules.end) | (left == 0)[:, None]
        for row, rank in final[:, :beams].nonzero().tolist():
            text = words[row, parents[row, rank], 1:].tolist()
            ended = int(tokens[row, rank]) == rules.end
            text += [] if ended else [int(tokens[row, rank])]
            found[live[row]].append(Hypothesis(text, float(top[row, rank]), ended))
        going = final.to(torch.int8).argsort(dim=1, stable=True)[:, :beams]
        scores, parents, tokens = (x.gather(1, going) for x in (top, parents, tokens))
        words = torch.cat((words.gather(1, parents[..., None].expand(-1, -1, words.shape[2])), tokens[..., None]), 2)
        kept = [row for row, source in enumerate(live) if len(found[source]) < beams and left[row] > 0]
        if len(kept) < len(live):
            live, at = [live[row] for row in kept], torch.tensor(kept, dtype=torch.int64, device=device)
            words, parents, scores, left = words[at], parents[at], scores[at], left[at]
            decoder.keep(at)
    return found


class Rules:
    """What a model's generation configuration says of tokens; of its other rules (no repeats, ...) none is applied."""

    def __init__(self, model: Any) -> None:
        """Read them."""
        config, generation = model.config, model.generation_config
        self.start: int = _first(generation.decoder_start_token_id, config.decoder_start_token_id)
        self.end: int = _first(generation.eos_token_id, config.eos_token_id)
        self.forced: int | None = generation.forced_bos_token_id
        """The first token of every translation, which some models want for the language."""
        self.never: list[int] = sorted({*(generation.suppress_tokens or ())} | ({config.pad_token_id} - {self.end}))


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def continuations(
    logits: torch.Tensor, scores: torch.Tensor, count: int, rules: Rules, *, first: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The `count` best of all beams' next tokens: scores, beams and tokens, (sources, count)."""
    vocabulary = logits.shape[-1]
    log_probabilities = logits.log_softmax(-1)
    log_probabilities[..., rules.never] = -torch.inf
    if first and rules.forced is not None:
        log_probabilities.fill_(-torch.inf)[..., rules.forced] = 0
    top, at = (log_probabilities + scores[..., None]).flatten(1).topk(count)
    return top, at // vocabulary, at % vocabulary
