"""Packed texts for causal and masked language models, whose head is computed for the rows that count only.

`enable` keeps our attention and the selection of rows where packed texts then have the logits of padded ones. A next
sentence is told from the first row of each text, which the pooler of BERT then reads.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bonafide.forward.batch import PACKED, Batch
from bonafide.forward.packing import first_position, indices_of, padding_of, positions_in_texts, to_device
from bonafide.forward.token_losses import counted_logits
from bonafide.forward.token_pooling import unwrapped
from bonafide.forward.trial import attention_of, probe_ids, probe_lengths, try_packed
from bonafide.project.arrays import Ints


def make_batch(
    model: Any,
    ids: Ints,
    lengths: Ints,
    is_counted: npt.NDArray[np.bool_],
    targets: Ints,
    *,
    more: Mapping[str, Ints] | None = None,
    labels: Ints | None = None,
) -> Batch:
    """A batch of texts of `lengths` (n,), which ascend and lie end to end: packed if the model takes that, else padded.

    ids (tokens,): what the model reads. is_counted (tokens,): where it predicts something that counts, `targets`
    (counted,), text after text: the next token of a causal model, the masked one of another. more: other arguments of
    the model with a value for each token, such as `token_type_ids`. labels (n,): of texts, such as of next sentences.
    """
    tokens = {name: array.astype(np.int64) for name, array in ({"input_ids": ids} | dict(more or {})).items()}
    lay_out = _pack if attention_of(model) == PACKED else _pad
    tensors, rows, widths = lay_out(model, tokens, lengths)
    ends, send = np.cumsum(lengths), partial(to_device, model=model)
    counts = np.add.reduceat(is_counted, ends - lengths, dtype=np.int64).tolist()
    counted = np.flatnonzero(is_counted)
    return Batch(
        {name: send(array) for name, array in tensors.items()},
        labels=send(np.zeros(0, dtype=np.int64) if labels is None else labels),
        lengths=widths,
        first=send(rows[ends - lengths]),
        row_counts=[[1] * len(lengths), widths, counts],
        targets=send(targets.astype(np.int64)),
        counts=counts,
        counted=None if lay_out is _pack and is_counted.all() else send(rows[counted]),
    )


def _pack(model: Any, tokens: dict[str, Ints], lengths: Ints) -> tuple[dict[str, Ints], Ints, list[int]]:
    """The model's inputs (1, tokens), the row of each token, and the rows of each text."""
    tensors = tokens | {"position_ids": positions_in_texts(lengths) + first_position(model)}
    return {name: array[None] for name, array in tensors.items()}, np.arange(len(tokens["input_ids"])), lengths.tolist()


def _pad(model: Any, tokens: Mapping[str, Ints], lengths: Ints) -> tuple[dict[str, Ints], Ints, list[int]]:
    """As `_pack`, with inputs (n, longest): texts padded on the right."""
    mask = np.arange(lengths.max()) < lengths[:, None]
    tensors = {"attention_mask": mask.astype(np.int64)}
    for name, array in tokens.items():
        tensors[name] = np.full(mask.shape, (padding_of(model) or 0) * (name == "input_ids"), dtype=np.int64)
        tensors[name][mask] = array
    return tensors, np.flatnonzero(mask), [mask.shape[1]] * len(lengths)


def enable(model: Any) -> str:
    """Let a causal or masked language model take packed batches, or leave it as it was and return the reason why not.

    Of a packed batch it then gives the logits (1, counted, vocabulary) of the rows that count alone.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        return "its decoder looks at the texts of its encoder"
    lengths = np.array(probe_lengths(model.config.get_text_config()))
    ids = probe_ids(model, int(lengths.sum()), (padding_of(model), first_position(model) - 1))
    offsets = np.append(0, np.cumsum(lengths))

    def logits(rows: Ints) -> torch.Tensor:
        at = indices_of(offsets, rows)
        counts = at % 3 != 1
        batch = make_batch(model, ids[at], lengths[rows], counts, ids[at][counts])
        outputs = model(**batch.inputs)
        found, of_texts = counted_logits(outputs, batch), getattr(outputs, "seq_relationship_logits", None)
        if of_texts is None:
            return found
        return torch.cat([found, of_texts.repeat_interleave(torch.tensor(batch.counts), dim=0)], dim=1)

    return try_packed(model, [_select_rows], logits, logits, len(lengths))


def _select_rows(model: Any) -> list[Any]:
    """Hooks by which heads are handed the rows that count, and the pooler the first of each text; no cache is kept."""
    base: Any = unwrapped(model).base_model
    under_way: list[Batch] = []

    def begin(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        under_way[:] = [batch for batch in [kwargs.get(PACKED)] if batch is not None]  # none: a padded batch
        return (args, kwargs | {"use_cache": False}) if under_way and "use_cache" in kwargs else None

    def pool(_module: nn.Module, args: Any) -> Any:
        return args[0][0].index_select(0, under_way[0].first)[:, None] if under_way else None

    def select(_module: nn.Module, _args: Any, output: Any) -> Any:
        if not under_way or under_way[0].counted is None:
            return None
        kept = output[0][0].index_select(0, under_way[0].counted)[None]
        if isinstance(output, tuple):
            return kept, *output[1:]
        output["last_hidden_state"] = kept
        return output

    hooks = [base.register_forward_pre_hook(begin, with_kwargs=True), base.register_forward_hook(select)]
    pooler = getattr(base, "pooler", None)
    return [*hooks, pooler.register_forward_pre_hook(pool)] if pooler else hooks
