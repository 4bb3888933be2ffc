"""Whether shards that share a pass have the same bits as shards with a pass each, which is tried out at each start.

It is not so for every model. Torch's elementwise kernels work on full vectors, and take what is left one by one, with
other functions that may round otherwise: widths that are multiples of 32 leave nothing, others do. And a model may use
torch's own random generator: then a pass for each shard is seeded with its number. Where that is for stochastic depth a
trial could miss it, as a share of 1 % seldom drops anything.
"""

from typing import Any

import numpy as np
import torch

from bonafide.engine.hyperparameters import partition_by_tokens
from bonafide.engine.shards.shard_context import tree_sum
from bonafide.project.arrays import Ints
from bonafide.project.errors import InputError

EXTRA_TEXTS = (0, 1, 3)  # of each try beside two for each shard
SHARES = ("drop_prob", "layerdrop")  # attributes: of the rows, or passes, that skip a layer by torch's generator


def try_sharing_a_pass(engine: Any) -> str:
    """Why each shard of an engine needs a pass of its own, or nothing; finds the weights that a pass uses twice."""
    context, writer, training = engine.context, engine.writer, engine.model.training
    by_length = np.argsort(engine.examples.lengths, kind="stable")
    if context.exact and any(getattr(part, name, 0) for part in engine.model.modules() for name in SHARES):
        return "layers are skipped by chance"
    try:
        for more in EXTRA_TEXTS if context.exact else EXTRA_TEXTS[:1]:
            places = np.linspace(0, len(by_length) - 1, min(len(by_length), 2 * engine.shards + more)).astype(np.int64)
            if not _has_same_bits(engine, by_length[places]):
                return "shards that share one have other bits"
    except KeyError as error:
        return f"a tensor of {error} rows has none for each token or text"
    except InputError as error:
        writer.leave({*writer.managed})
        return str(error)
    finally:
        writer.is_settled = True
        engine.model.train(training)
    return ""


def _has_same_bits(engine: Any, texts: Ints) -> bool:
    ordered, offsets = partition_by_tokens(texts, engine.examples.lengths, engine.shards)
    known = None
    while known != engine.writer.shared:  # a pass may show further weights that it uses several times
        known = set(engine.writer.shared)
        together = engine.run_pass(ordered, offsets, 0, 0).clone()
    if not engine.context.exact:
        return True
    alone = (engine.run_pass(ordered, offsets[i : i + 2], 0, i).clone() for i in range(engine.shards))
    return torch.equal(together, tree_sum(alone))
