"""The activations of the frozen lowest layers are computed once a text: every step begins at the lowest trained layer.

Nothing is dropped in a frozen layer, so its output is a function of the text. It is computed in batches that depend on
the split alone: in the same bits in every process, for any number of passes, and after an interruption.
"""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import nn

from bonafide.datasets.ragged import Tokens
from bonafide.forward.batch import PACKED
from bonafide.forward.inference import BATCH
from bonafide.forward.packed_attention import layers
from bonafide.forward.packing import make_batch, token_indices
from bonafide.forward.token_pooling import unwrapped
from bonafide.forward.trial import TOLERANCE
from bonafide.pretrained.padding import MISFITS
from bonafide.project.arrays import Ints

# Bytes of one split, in each process: 5 times the default table at MiniLM's width. No share of this machine's memory:
# activations that a step computes itself differ in their last bits, and those may not depend on the machine.
BUDGET = 2 * 2**30


class _LeaveModel(Exception):  # noqa: N818 - a way out of the forward pass, no error
    pass


class ActivationCache:
    """The frozen prefix of a model: its embeddings and lowest layers, as far as they train and drop nothing."""

    def __init__(self, model: Any, examples: Any, *, packed: bool) -> None:
        """Let packed texts that carry `prefix_activations` begin above the frozen layers; others go the whole way."""
        self.model, self.prefix_activations = model, None
        has_prefix = packed and isinstance(examples, Tokens)
        self.embeddings, self.layers = _frozen_prefix(get_encoder(model)) if has_prefix else ([], [])
        if self.layers:
            get_encoder(model).register_forward_pre_hook(self._enter, with_kwargs=True)
        for part in (*self.embeddings, *self.layers):
            part.forward = partial(self._skip, part, part.forward)

    def add_to(self, tokens: Any) -> Any:
        """The texts with their prefix activations; without, where too large or no replacement for the layers."""
        if not self.layers or not isinstance(tokens, Tokens):
            return tokens
        self.model.eval()
        size = 4 * self.model.config.hidden_size * int(self._tokens_read(tokens).offsets[-1])
        return self._with_activations(tokens) if size <= BUDGET and self._is_equivalent(tokens) else tokens

    def _tokens_read(self, tokens: Tokens) -> Tokens:
        """The tokens that are read above the frozen layers; a head, where all are frozen, reads each text's first."""
        if len(self.layers) < len(layers(self.model)):
            return tokens
        return Tokens(tokens.input_ids[tokens.offsets[:-1]], np.arange(len(tokens) + 1), tokens.labels, tokens.ids)

    def _with_activations(self, tokens: Tokens) -> Tokens:
        """Compute them, (tokens read, d) float32."""
        read, order = self._tokens_read(tokens), np.argsort(tokens.lengths, kind="stable")
        outputs = np.empty((read.offsets[-1], self.model.config.hidden_size), dtype=np.float32)
        with torch.inference_mode():
            for rows in np.split(order, range(BATCH, len(order), BATCH)):
                outputs[token_indices(read, rows)] = self._prefix_output(tokens, rows).float().cpu().numpy()
        return replace(read, prefix_activations=outputs)

    def _is_equivalent(self, tokens: Tokens) -> bool:
        """Whether the first texts have the same logits both ways, and nothing that is trained lies in the prefix."""
        few = Tokens(tokens.input_ids, tokens.offsets[:9], tokens.labels[:8], tokens.ids[:8])
        rows = np.argsort(few.lengths, kind="stable")
        with suppress(*MISFITS):
            cached, whole = (self._logits(source, rows).detach() for source in (self._with_activations(few), few))
            output, trained = (
                self._prefix_output(few, rows).sum(),
                [p for p in self.model.parameters() if p.requires_grad],
            )
            grads = torch.autograd.grad(output, trained, allow_unused=True) if output.requires_grad else ()
            return all(grad is None for grad in grads) and torch.allclose(cached, whole, rtol=0, atol=TOLERANCE)
        return False

    def _prefix_output(self, tokens: Tokens, rows: Ints) -> torch.Tensor:
        """The highest frozen layer's output for texts `rows`: (tokens, d), of the last layer (texts, d)."""
        found: list[torch.Tensor] = []

        def leave(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
            found.append(output.flatten(0, 1))
            raise _LeaveModel

        with self.layers[-1].register_forward_hook(leave), suppress(_LeaveModel):
            self._logits(tokens, rows)
        return found[0]

    def _logits(self, tokens: Tokens, rows: Ints) -> torch.Tensor:
        return self.model(**make_batch(tokens, rows, self.model).inputs).logits  # type: ignore[no-any-return]

    def _enter(self, _module: nn.Module, _args: Any, kwargs: Any) -> None:
        """Before the encoder: what the batch brings, if anything."""
        self.prefix_activations = getattr(kwargs.get(PACKED), "prefix_activations", None)

    def _skip(self, part: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
        """A frozen part's forward: the embeddings give what the batch brings, and the layers hand it on."""
        if self.prefix_activations is None:
            return forward(*args, **kwargs)
        return (args[0] if args else kwargs["hidden_states"]) if part in self.layers else self.prefix_activations


def get_encoder(model: Any) -> nn.Module:
    """A model without its head, whether low-rank changes wrap it or not."""
    return unwrapped(model).base_model  # type: ignore[no-any-return]


def embeddings(encoder: nn.Module) -> list[nn.Module]:
    """What lies below the lowest layer; ELECTRA has two."""
    return [module for name, module in encoder.named_children() if "embed" in name]


def _frozen_prefix(encoder: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The embeddings and the frozen lowest layers; two empty lists where either has something that trains or drops."""
    tables, lowest = embeddings(encoder), []
    with suppress(IndexError):  # layers that share their weights
        lowest = list(takewhile(_is_frozen, layers(encoder)))
    return (tables, lowest) if tables and lowest and all(map(_is_frozen, tables)) else ([], [])


def _is_frozen(part: nn.Module) -> bool:
    return not any(p.requires_grad for p in part.parameters()) and not any(getattr(m, "p", 0) for m in part.modules())
