"""Equal and nearly equal texts: within a split, across splits, under another label.

Near-duplicates are found with MinHash (Broder 1997; datasketch's affine32 permutations) and banded locality-sensitive
hashing (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, 3.4), and verified by the Jaccard similarity of their
character 5-grams. The time is linear in the rows whatever the texts: see `find_near`.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasketch import MinHash

from bonafide.project.arrays import Ints
from bonafide.project.process import CHUNK, map_chunks
from bonafide.quality.text_faults import Mask

SHINGLE = 5  # characters; Mining of Massive Datasets, 3.2.2, for short documents
MAX_CHARACTERS = 10_000  # a longer text is compared by its beginning
PERMUTATIONS = 128  # a standard error of 0.035 at similarity 0.8
RECALL = 0.995  # of pairs at the threshold; with 128 permutations and 0.8: 21 bands of 6 rows, 0.998
TRIES = 8  # partners a row gets in one bucket, and partners verified per row

Signatures = npt.NDArray[np.uint32]


def normalise(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Casefolded NFKC with runs of whitespace as one space; what is blank or null becomes null."""
    return pa.chunked_array(
        [pa.array(map(_normalise, chunk.to_pylist()), texts.type) for chunk in texts.chunks], texts.type
    )


def _normalise(text: str | None) -> str | None:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()) or None if text else None


def find_exact(identity: pa.ChunkedArray, answers: pa.ChunkedArray | None, order: Ints) -> tuple[Mask, Mask]:
    """Masks (n,) of repeated rows (same identity, same answer, not the first by `order`) and of conflicting ones.

    A row conflicts if its identity stands with another answer anywhere; without `answers`, none does. Rows whose
    identity or answer is null take no part. `order` (n,) int64: of equal rows the one with the lowest number, then the
    first, stays.
    """
    repeated = np.zeros(len(identity), dtype=np.bool_)
    conflicting = np.zeros(len(identity), dtype=np.bool_)
    same = _codes(identity)
    answer = np.zeros_like(same) if answers is None else _codes(answers)
    rows = np.flatnonzero((same >= 0) & (answer >= 0))
    by = rows[np.lexsort((rows, order[rows], answer[rows], same[rows]))]
    equal, agrees = same[by][1:] == same[by][:-1], answer[by][1:] == answer[by][:-1]
    repeated[by[1:][equal & agrees]] = True
    divided = np.zeros(int(same.max(initial=-1)) + 1, dtype=np.bool_)
    divided[same[by][1:][equal & ~agrees]] = True
    conflicting[rows] = divided[same[rows]]
    return repeated, conflicting


def _codes(values: pa.ChunkedArray) -> Ints:
    """Number equal values alike, null as -1."""
    indices = pc.fill_null(values.combine_chunks().dictionary_encode().indices, -1)
    codes: Ints = indices.to_numpy().astype(np.int64)
    return codes


@dataclass(frozen=True)
class Near:
    """Near-duplicates: row `rows[i]` is one of row `partners[i]`, which lies in a split of lower rank."""

    rows: Ints
    """(m,) row numbers, each at most once, ascending."""
    partners: Ints
    """(m,) row numbers."""


def find_near(texts: list[str], ranks: Ints, similarity: float, processes: int | None = None) -> Near:
    """For each row, look for one of at least this Jaccard similarity in a split of lower rank.

    `texts` (n) normalised, no two equal; `ranks` (n,) int64 of their splits. The result does not depend on
    `processes` (default: the machine's cores). A million variants of one template fall into one bucket, whose pairs
    are quadratic; so a row meets at most 8 partners per bucket, spread over it, and only the 8 most similar by
    signature, over all bands, are verified. In such a bucket nearly any will do: of 2,700 variants that differ in
    a number, 98% are found. Buckets of up to 8 rows of lower rank are searched in full.
    """
    if len(np.unique(ranks)) < 2:
        return Near(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    signatures = sign(texts, processes)
    partners, agreements = candidates(signatures, ranks, similarity)
    del signatures
    best_first = np.take_along_axis(partners, np.argsort(-agreements, axis=1, kind="stable"), axis=1)
    found = np.full(len(texts), -1, dtype=np.int64)
    for row in np.flatnonzero(best_first[:, 0] >= 0).tolist():
        found[row] = verify(texts, row, best_first[row].tolist(), similarity)
    rows = np.flatnonzero(found >= 0)
    return Near(rows, found[rows])


def search(identity: pa.ChunkedArray, similarity: float, rows: Ints, ranks: Ints) -> Near:
    """`find_near` among some rows (m,) of normalised texts (n,), in places among them."""
    return find_near(identity.take(pa.array(rows)).to_pylist(), ranks, similarity)


def verify(texts: list[str], row: int, partners: list[int], similarity: float) -> int:
    """The first of `partners` that is as similar as it has to be, or -1; so is what fills its empty places."""
    own = shingles(texts[row])
    for partner in partners:
        if partner >= 0 and jaccard(own, shingles(texts[partner])) >= similarity:
            return partner
    return -1


def shingles(text: str) -> set[str]:
    """The character 5-grams of a text; of a shorter text, itself."""
    text = text[:MAX_CHARACTERS]
    return {text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))}


def jaccard(a: set[str], b: set[str]) -> float:
    """Shared elements as a share of all."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def sign(texts: list[str], processes: int | None = None) -> Signatures:
    """MinHash signatures (n, 128) uint32."""
    signatures = np.empty((len(texts), PERMUTATIONS), dtype=np.uint32)
    chunks = (texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK))
    for i, signed in enumerate(map_chunks(_sign_chunk, chunks, len(texts), processes)):
        signatures[i * CHUNK : i * CHUNK + len(signed)] = signed
    return signatures


def _sign_chunk(texts: list[str]) -> Signatures:
    hashes = (hash_shingles(text) for text in texts)
    return np.stack([m.hashvalues for m in MinHash.generator(hashes, num_perm=PERMUTATIONS, hashfunc=int)])


def hash_shingles(text: str) -> list[int]:
    """32-bit polynomial hashes of the character 5-grams; MinHash needs no better, it mixes them itself."""
    points = np.frombuffer(text[:MAX_CHARACTERS].ljust(SHINGLE).encode("utf-32-le"), dtype=np.uint32)
    count = len(points) - SHINGLE + 1
    hashes = np.zeros(count, dtype=np.uint32)
    for k in range(SHINGLE):
        hashes = hashes * np.uint32(0x9E3779B1) + points[k : k + count]  # Knuth's multiplicative constant, made prime
    return hashes.tolist()


def bands(similarity: float) -> tuple[int, int]:
    """Bands and rows per band: the longest band that still finds pairs at the threshold with `RECALL`.

    A pair of Jaccard similarity s agrees in one of b bands of r rows with probability 1 - (1 - s^r)^b.
    """
    for rows in range(PERMUTATIONS, 1, -1):
        count = PERMUTATIONS // rows
        if 1 - (1 - similarity**rows) ** count >= RECALL:
            return count, rows
    return PERMUTATIONS, 1


def candidates(signatures: Signatures, ranks: Ints, similarity: float) -> tuple[Ints, npt.NDArray[np.int16]]:
    """The partners of each row that agree with it in a band and look similar enough: (n, 8) rows, (n, 8) agreements.

    An agreement is the number of equal minhashes of 128; an empty place has partner -1 and agreement 0.
    """
    partners = np.full((len(ranks), TRIES), -1, dtype=np.int64)
    agreements = np.zeros((len(ranks), TRIES), dtype=np.int16)
    error = np.sqrt(similarity * (1 - similarity) / PERMUTATIONS)
    least = PERMUTATIONS * (similarity - 4 * error)
    for band in _band_hashes(signatures, *bands(similarity)):
        for rows, others in bucket_pairs(band, ranks):
            agreement = _agree(signatures, rows, others)
            keep_best(
                partners,
                agreements,
                rows[agreement >= least],
                others[agreement >= least],
                agreement[agreement >= least],
            )
    return partners, agreements


def _band_hashes(signatures: Signatures, count: int, rows: int) -> Iterator[npt.NDArray[np.uint64]]:
    """One uint64 per row and band; two bands that differ get the same one with a probability of 2^-64."""
    for band in range(count):
        mixed = np.zeros(len(signatures), dtype=np.uint64)
        for column in range(band * rows, (band + 1) * rows):
            mixed = (mixed ^ signatures[:, column]) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        yield mixed


def bucket_pairs(band: npt.NDArray[np.uint64], ranks: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Pair every row with up to 8 rows of its bucket that have a lower rank; a row comes once per yield."""
    by = np.lexsort((ranks, band))
    fresh = np.concatenate(([True], band[by][1:] != band[by][:-1]))
    starts = np.flatnonzero(fresh)[np.cumsum(fresh) - 1]
    steps = fresh | np.concatenate(([True], ranks[by][1:] != ranks[by][:-1]))
    ahead = np.flatnonzero(steps)[np.cumsum(steps) - 1] - starts  # rows of lower rank in the bucket
    place = np.flatnonzero(ahead)
    for attempt in range(TRIES):
        place = place[ahead[place] > attempt]
        stride = np.maximum(ahead[place] // TRIES, 1)
        yield by[place], by[starts[place] + (place + attempt * stride) % ahead[place]]


def _agree(signatures: Signatures, rows: Ints, others: Ints) -> npt.NDArray[np.int16]:
    """Equal minhashes of each pair, (m,) int16, in blocks that fit into a cache."""
    agreement = np.zeros(len(rows), dtype=np.int16)
    for i in range(0, len(rows), CHUNK):
        block = slice(i, i + CHUNK)
        agreement[block] = (signatures[rows[block]] == signatures[others[block]]).sum(axis=1)
    return agreement


def keep_best(
    partners: Ints, agreements: npt.NDArray[np.int16], rows: Ints, others: Ints, agreement: npt.NDArray[np.int16]
) -> None:
    """Put each new partner in its row's weakest place, if it agrees better than what stands there."""
    known = (partners[rows] == others[:, None]).any(axis=1)
    weakest = agreements[rows].argmin(axis=1)
    better = ~known & (agreement > agreements[rows, weakest])
    places = rows[better], weakest[better]
    partners[places], agreements[places] = others[better], agreement[better]
