"""Architectures that read padding as if it were text are given texts of one length at a time, as if each came alone.

FNet's mixing, ConvBERT's and Nystromformer's convolutions and their like know no mask: what they give for a padded text
depends on the texts beside it. Stock transformers gives the same only to texts of one length, or one at a time.
"""

from collections.abc import Sequence
from functools import wraps
from typing import Any

import torch
from torch import nn

Texts = Sequence[Sequence[int]]
"""Token ids of each text."""

MISFITS = (AttributeError, AssertionError, LookupError, RuntimeError, TypeError, ValueError)  # of a trial
APART = 3e-5  # of logits, in fp32, or of the largest above 1: padding that is read moves them by a tenth


def separate(model: Any, texts: Texts) -> bool:
    """Let a classifier take padded batches of any lengths; whether it needs help is tried on texts, not looked up."""
    if not reads_padding(model, texts):
        return False
    whole, least = model.forward, getattr(model.config, "downsampling_rate", 1)  # CANINE takes no text of 3 characters

    @wraps(whole)
    def forward(input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **rest: Any) -> Any:
        if attention_mask is None:
            raise NotImplementedError("it reads padding as if it were text")
        more = (0, max(0, least - input_ids.shape[1]))
        input_ids, attention_mask = (nn.functional.pad(tensor, more) for tensor in (input_ids, attention_mask))
        lengths = attention_mask.sum(dim=1).clamp(min=least)
        values = torch.unique(lengths).tolist()
        rows = [torch.nonzero(lengths == value).squeeze(1) for value in values]
        parts = [
            whole(input_ids=input_ids[at, :value], attention_mask=attention_mask[at, :value], **rest)
            for at, value in zip(rows, values, strict=True)
        ]
        parts[0].logits = torch.cat([part.logits for part in parts])[torch.cat(rows).argsort()]
        return parts[0]

    model.forward = forward
    return True


def reads_padding(model: Any, texts: Texts) -> bool:
    """Whether logits of a text, of some whose lengths differ, depend on how much padding it has."""
    if getattr(model.config, "trigram_input", False):  # MobileBERT's last token sees the next: too little to be tried
        return True
    beside, found = trial(model, texts), [trial(model, [text]) for text in texts]
    alone = [logits for logits in found if logits is not None]
    if beside is None or len(alone) < len(texts):
        return False
    return bool((beside - torch.cat(alone)).abs().max() > APART * torch.cat(alone).abs().max().clamp(min=1))


@torch.no_grad()
def trial(model: Any, texts: Texts) -> torch.Tensor | None:
    """The logits of texts, padded to the longest, as when predicting; None where the model does not take them."""
    training = model.training
    model.eval()
    try:
        return model(**padded(model, texts)).logits  # type: ignore[no-any-return]
    except MISFITS:
        return None
    finally:
        model.train(training)


def padded(model: Any, texts: Texts) -> dict[str, torch.Tensor]:
    """Ids and mask of texts, padded as `packing` does."""
    config, device = model.config, next(model.parameters()).device
    padding, longest = config.get_text_config().pad_token_id or 0, max(map(len, texts))
    left = getattr(config, "summary_type", "") == "last"

    def laid(row: Sequence[int], rest: list[int]) -> list[int]:
        return [*rest, *row] if left else [*row, *rest]

    ids = [laid(text, [padding] * (longest - len(text))) for text in texts]
    mask = [laid([1] * len(text), [0] * (longest - len(text))) for text in texts]
    return {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}
