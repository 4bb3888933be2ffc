"""What a step takes, as pure functions of numbers: its chance, its learning rate, and how its texts are parted."""

import numpy as np

from tasks import Ints


def generator(*key: int) -> np.random.Generator:
    """A private generator that is a pure function of the key (Philox, counter-based)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def schedule(step: int, steps: int, warmup_ratio: float) -> float:
    """The factor on the peak learning rate at `step` of `steps`: linear up to 1, then linear down to 0."""
    warmup = max(1, round(steps * warmup_ratio))
    return min(step / warmup, max(0.0, (steps - step + 1) / max(1, steps - warmup + 1)))


def cut(rows: Ints, lengths: Ints, shards: int) -> tuple[Ints, Ints]:
    """Rows by ascending length, and the `shards` + 1 cuts that part them into neighbours of about equal tokens."""
    rows = rows[np.argsort(lengths[rows], kind="stable")]
    ends = np.cumsum(lengths[rows])
    middle = (2 * ends - lengths[rows]) * shards // (2 * ends[-1])
    return rows, np.searchsorted(middle, np.arange(shards + 1))
