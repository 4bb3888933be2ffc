"""Images that are nearly the same: candidates by difference hashes, each confirmed by its pixels.

Candidates differ in at most 12 of the 64 bits of their difference hashes, one of them mirrored or not. They are found
by banded locality-sensitive hashing, here over samples of bits (Indyk, Motwani 1998), in time that is linear in the
rows whatever the images: see quality.duplicates. A pair is confirmed by the correlation of the gradients of its small
grey pictures, with and without their margins: gradients say nothing of brightness, and less than pixels of contrast and
horizons; margins alone make two framed pictures look alike.

Calibrated on CIFAR-10, whose near-duplicates ciFAIR (arXiv 1902.00423) found by eye for 3.25 % of the test images. Of
all pairs of a test and a train image, these thresholds hold for a partner of 2.66 % of the test images, of which this
search finds 96 %. Of some 80 pairs with correlations of 0.7 to 0.8 that were looked at, about six were not the same
picture cropped, recoloured, sharpened or mirrored, but silhouettes, and ships on horizons.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bonafide.images.fingerprints import SIDE
from bonafide.project.arrays import Floats, Ints
from bonafide.quality.duplicates import TRIES, Near, bucket_pairs, keep_best

BITS = 64
DISTANCE = 12  # bits of the difference hashes that may differ
CORRELATION = 0.7  # of the gradients, at least
SAMPLES, SAMPLED = (
    60,
    16,
)  # samples of so many bits: two hashes that differ in 8 agree in one with 0.999, in 12 with 0.9
MARGIN = 2  # of the small pictures' 16 rows and columns, at each edge
BLOCK = 8192  # pairs that are correlated at once

Hashes = npt.NDArray[np.uint64]
Small = npt.NDArray[np.uint8]
"""Small grey pictures, (n, 16, 16)."""


def find_near(records: pa.Table, rows: Ints, ranks: Ints) -> Near:
    """For each of `rows` (m,), look for one that is nearly the same image in a split of lower rank.

    `records` as quality.images.image_faults, none of `rows` without pixels; `ranks` (m,) of the rows' splits. Returns
    places among `rows`. A row is compared to at most 8 candidates, those of the nearest hashes; the best one counts.
    """
    ranked = np.unique(ranks)
    if len(ranked) < 2:
        return Near(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    found = records.select(["difference", "mirrored", "small"]).take(pa.array(rows))
    small = np.frombuffer(b"".join(found["small"].to_pylist()), dtype=np.uint8).reshape(-1, SIDE, SIDE)
    turned = np.flatnonzero(ranks != ranked[0])  # a mirror image is found by turning one of a pair
    hashes = np.concatenate([found["difference"].to_numpy(), found["mirrored"].to_numpy()[turned]])
    place = np.concatenate([np.arange(len(rows)), turned])
    partners = candidates(hashes, ranks[place])
    partners[partners >= len(rows)] = -1  # both turned: the same as neither
    return _confirm(partners, place, small)


def candidates(hashes: Hashes, ranks: Ints) -> Ints:
    """The nearest of those of lower rank that share a sample of bits and differ little: (n, 8) places, -1 for none."""
    partners = np.full((len(hashes), TRIES), -1, dtype=np.int64)
    agreements = np.zeros((len(hashes), TRIES), dtype=np.int16)
    for mask in _masks():
        for rows, others in bucket_pairs(hashes & mask, ranks):
            agreement = BITS - np.bitwise_count(hashes[rows] ^ hashes[others]).astype(np.int16)
            near = agreement >= BITS - DISTANCE
            keep_best(partners, agreements, rows[near], others[near], agreement[near])
    return partners


def _masks() -> Hashes:
    """The samples of bits, (60,), the same each time."""
    chance = np.random.default_rng(0)
    chosen = [chance.permutation(BITS)[:SAMPLED].astype(np.uint64) for _ in range(SAMPLES)]
    return np.array([np.bitwise_or.reduce(np.uint64(1) << bits) for bits in chosen], dtype=np.uint64)


def _confirm(partners: Ints, place: Ints, small: Small) -> Near:
    """The partner of each row whose gradients agree best, where they do well enough.

    `partners` (k, 8) of entries (k,), of which those behind the first n stand for the rows `place` mirrored.
    """
    entries, columns = np.nonzero(partners >= 0)
    rows, others, mirrored = place[entries], partners[entries, columns], entries >= len(small)
    likeness = np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        own = np.where(mirrored[block, None, None], small[rows[block]][:, :, ::-1], small[rows[block]])
        likeness[block] = correlate(own, small[others[block]])
    order = np.lexsort((others, -likeness, rows))
    order = order[likeness[order] >= CORRELATION]
    first = np.flatnonzero(np.diff(rows[order], prepend=-1))
    return Near(rows[order][first], others[order][first])


def correlate(left: Small, right: Small) -> Floats:
    """The correlation of the gradients of each pair (m,), of all and of the inner pixels, whichever is lower."""
    inner = slice(MARGIN, -MARGIN)
    whole = (_gradients(left) * _gradients(right)).sum(axis=1)
    within = (_gradients(left[:, inner, inner]) * _gradients(right[:, inner, inner])).sum(axis=1)
    lower: Floats = np.minimum(whole, within)
    return lower


def _gradients(small: Small) -> Floats:
    """Differences of neighbours, to the right and down, (m, d) of length 1; 0 where all are equal."""
    pixels = small.astype(np.float64)
    across, down = np.diff(pixels, axis=2), np.diff(pixels, axis=1)
    flat = [part.reshape(len(small), part[0].size if len(small) else 0) for part in (across, down)]
    found = np.concatenate(flat, axis=1)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Floats = np.divide(found, length, out=np.zeros_like(found), where=length > 0)
    return unit
