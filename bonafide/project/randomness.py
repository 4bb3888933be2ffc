"""Seeded randomness: every draw is a pure function of a key, so that nothing has to be saved to go on with it."""

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np

from bonafide.project.arrays import Floats


def generator(*key: int | str) -> np.random.Generator:
    """A private generator for a key of numbers and names (Philox, counter-based: Salmon et al. 2011)."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


def hashed_uniform(names: Sequence[str], seed: int) -> Floats:
    """A number in [0, 1) for each name, (n,): the leading 53 bits of blake2b(name), keyed by the seed."""
    key = seed.to_bytes(8, "big")
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in names)
    return (np.frombuffer(digests, dtype=">u8") >> np.uint64(11)).astype(np.float64) / 2**53
