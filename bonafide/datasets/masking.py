"""Which tokens are hidden from a masked language model, and what it is shown in their place (Devlin et al. 2019, 3.1).

Every draw is a hash of a key (of the document and the epoch) and the token's place in its document: a pure function,
whatever other documents, batches and processes there are.
"""

import numpy as np
import numpy.typing as npt

from bonafide.project.arrays import Bools, Ints
from bonafide.project.randomness import counted_uniform

Tokens = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint64]

CHOICE, KIND, STAND_IN, DRAWS = 0, 1, 2, 4  # what is drawn for a token, and how many draws it may have


def owners(offsets: Ints, places: Ints) -> Ints:
    """Which part `offsets` (n + 1,) puts each place in, (m,); parts may be empty."""
    return np.searchsorted(offsets, places, side="right") - 1


def choose(keys: Keys, counters: Ints, offsets: Ints, hideable: Bools, share: float) -> Ints:
    """Places of the tokens to hide, ascending: of each part round(share x its hideable tokens), one at least.

    `keys` and `counters` (tokens,) are what the draws of a token hang on; `offsets` (n + 1,) cut the tokens into parts.
    A part without hideable tokens has none to hide.
    """
    places = np.flatnonzero(hideable)
    part = owners(offsets, places)
    counts = np.bincount(part, minlength=len(offsets) - 1)
    drawn = counted_uniform(keys[places], counters[places] * DRAWS + CHOICE)
    rank = np.arange(len(places)) - (np.cumsum(counts) - counts)[part]
    wanted = np.maximum(np.rint(share * counts), 1)
    return np.sort(places[np.lexsort((drawn, part))[rank < wanted[part]]])


def disguise(
    input_ids: Tokens,
    hidden: Ints,
    keys: Keys,
    counters: Ints,
    mask: int,
    ordinary: Tokens,
    shares: tuple[float, float],
) -> Tokens:
    """The tokens with those at `hidden` replaced: of `shares` the first by `mask`, the second by any of `ordinary`.

    The rest stay as they are.
    """
    kind, stand_in = (counted_uniform(keys[hidden], counters[hidden] * DRAWS + draw) for draw in (KIND, STAND_IN))
    others = ordinary[(stand_in * len(ordinary)).astype(np.int64)]
    shown = input_ids.copy()
    shown[hidden] = np.select([kind < shares[0], kind < sum(shares)], [np.int32(mask), others], input_ids[hidden])
    return shown
