"""Seeded randomness: every draw is a pure function of a key, so that nothing has to be saved to go on with it."""

import hashlib
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bonafide.project.arrays import Floats, Ints


def generator(*key: int | str) -> np.random.Generator:
    """A private generator for a key of numbers and names (Philox, counter-based: Salmon et al. 2011)."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


def hashed_keys(names: Sequence[str], seed: int) -> npt.NDArray[np.uint64]:
    """64 bits for each name, (n,): blake2b(name), keyed by the seed."""
    key = seed.to_bytes(8, "big")
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in names)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def hashed_uniform(names: Sequence[str], seed: int) -> Floats:
    """A number in [0, 1) for each name, (n,): the leading 53 bits of its key."""
    return (hashed_keys(names, seed) >> np.uint64(11)).astype(np.float64) / 2**53


def counted_uniform(keys: npt.NDArray[np.uint64], counters: Ints) -> Floats:
    """A number in [0, 1) for each pair of key and counter, (n,): SplitMix64 (Steele et al. 2014), with random access.

    Where a generator for each of many keys would cost more than what it draws.
    """
    bits = keys + (counters.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    drawn: Floats = ((bits ^ (bits >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53
    return drawn
