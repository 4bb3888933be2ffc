"""Whether shards that share a pass have the bits of passes of their own, which is tried out at each start.

What treats rows one by one may round the last of them otherwise: torch's elementwise kernels take what is left after
the last full vectors one by one, with other functions. Widths that are multiples of 32 leave nothing; others do. And a
model may draw chance of torch's own, as OPT does.
"""

from typing import Any

import numpy as np
import torch

from bonafide.engine.bucketing import slots
from bonafide.engine.recipe import cut
from bonafide.engine.step_context import tree_sum
from bonafide.project.arrays import Ints
from bonafide.project.errors import InputError

MORE = (0, 1, 3)  # texts of each try beside two for each shard


def settle(engine: Any) -> str:
    """Why each shard of an engine needs a pass of its own, or nothing; what its layout must know is noted there."""
    layout, training, few = engine.layout, engine.model.training, np.argsort(engine.tokens.lengths, kind="stable")
    try:
        for more in MORE if layout.exact else MORE[:1]:
            places = np.linspace(0, len(few) - 1, min(len(few), 2 * engine.shards + more)).astype(np.int64)
            if not _alike(engine, few[places]):
                return "shards that share one have other bits"
    except KeyError as error:
        return f"a tensor of {error} rows has none for each token or text"
    except InputError as error:
        layout.taken.clear()
        return str(error)
    finally:
        layout.settled = True
        engine.model.train(training)
    return ""


def _alike(engine: Any, texts: Ints) -> bool:
    ordered, cuts = cut(texts, engine.tokens.lengths, engine.shards)
    room = slots(engine.inputs.lengths[ordered], cuts, engine.longest) if engine.fills else None
    shared = None
    while shared != engine.layout.shared:  # what is used several times comes to light here
        shared = set(engine.layout.shared)
        whole = engine.pass_alone(ordered, cuts, 0, 0, room).clone()
    if not engine.layout.exact:
        return True
    passes = (engine.pass_alone(ordered, cuts[i : i + 2], 0, i, room).clone() for i in range(engine.shards))
    return torch.equal(whole, tree_sum(passes))
