"""Pairs of texts, a source and its translation: which belong together, and what does not fit in one.

Columns are (n,) of texts, null where a pair has a fault already; a mask is True where a pair has the fault.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bonafide.project.arrays import Floats, Ints
from bonafide.quality.checks import CAME, Check
from bonafide.quality.text_faults import Mask, to_mask

WORD = r"\S+"
NUMERAL = re.compile(r"\d+")
DIGEST = 16  # hex digits: two of a million groups share a name once in 37 million tables


def link(keys: Sequence[pa.ChunkedArray]) -> pa.ChunkedArray:
    """A group for each row (n,), the same for rows that share a value of any key, and so on from row to row.

    `keys` are (n,) strings; null is like no other. A group is named by a hash of its least value of the first key that
    has one, so that the name does not depend on the order of the rows; it is null for a row without any.
    """
    component, least = _components(keys), dict[int, str]()
    for number, name in zip(component, _names(keys), strict=True):
        if name is not None:
            least[number] = min(name, least.get(number, name))
    hashed = {number: hashlib.sha256(name.encode()).hexdigest()[:DIGEST] for number, name in least.items()}
    return pa.chunked_array([pa.array([hashed.get(number) for number in component], pa.string())])


def _components(keys: Sequence[pa.ChunkedArray]) -> list[int]:
    """The connected component of each row in the graph of rows and of the values that they have."""
    rows = nodes = len(keys[0])
    edges = []
    for key in keys:
        codes: Ints = pc.fill_null(key.combine_chunks().dictionary_encode().indices, -1).to_numpy().astype(np.int64)
        known = np.flatnonzero(codes >= 0)
        edges.append(np.stack([known, codes[known] + nodes]))
        nodes += int(codes.max(initial=-1)) + 1
    ends = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(ends.shape[1], dtype=np.int8), (ends[0], ends[1])), shape=(nodes, nodes))
    component: list[int] = connected_components(graph, directed=False)[1][:rows].tolist()
    return component


def _names(keys: Sequence[pa.ChunkedArray]) -> list[str | None]:
    """Of each row the first key that has a value, by number, and the value."""
    columns = zip(*(key.to_pylist() for key in keys), strict=True)
    return [next((f"{n} {value}" for n, value in enumerate(row) if value is not None), None) for row in columns]


def lengths(texts: pa.ChunkedArray, unit: str) -> Floats:
    """Of each text, (n,), in words (what stands between blanks) or characters; 0 for null."""
    counted = pc.count_substring_regex(texts, WORD) if unit == "words" else pc.utf8_length(texts)
    found: Floats = pc.fill_null(counted, 0).to_numpy().astype(np.float64)
    return found


def ratios(sources: Floats, targets: Floats) -> Floats:
    """Of each target's length to its source's, (n,); NaN where either has none."""
    found: Floats = np.divide(targets, sources, out=np.full(len(sources), np.nan), where=(sources > 0) & (targets > 0))
    return found


def wrong_script(texts: pa.ChunkedArray, script: str | None, least: float) -> Mask:
    """Find texts with letters of which a smaller share is of a script of Unicode; none without a script."""
    if script is None:
        return np.zeros(len(texts), dtype=np.bool_)
    letters, ours = (occurrences(texts, rf"\p{{{name}}}") for name in ("L", script))
    mask: Mask = (letters > 0) & (ours < least * letters)
    return mask


def occurrences(texts: pa.ChunkedArray, pattern: str) -> Ints:
    """How often RE2 finds `pattern` in each text, (n,); 0 for null."""
    found: Ints = pc.fill_null(pc.count_substring_regex(texts, pattern), 0).to_numpy().astype(np.int64)
    return found


def not_composed(texts: pa.ChunkedArray) -> Mask:
    """Find texts that are not in the composed form, NFC: the same letter would have two spellings."""
    composed = (unicodedata.is_normalized("NFC", text or "") for text in texts.to_pylist())  # Arrow's NFC decomposes
    mask: Mask = ~np.fromiter(composed, dtype=np.bool_, count=len(texts))
    return mask


def numerals_differ(sources: pa.ChunkedArray, targets: pa.ChunkedArray) -> Mask:
    """Find pairs with other numbers in digits on one side than on the other; `3:30` and `3点半` are such, too."""
    mask = np.zeros(len(sources), dtype=np.bool_)
    some = pc.or_(*(pc.match_substring_regex(side, r"\p{Nd}") for side in (sources, targets)))  # null if either is
    for row in np.flatnonzero(to_mask(some)).tolist():
        mask[row] = numerals(sources[row].as_py()) != numerals(targets[row].as_py())
    return mask


def numerals(text: str) -> list[str]:
    """The numbers that a text has in digits, of any width, in sorted order."""
    return sorted(NUMERAL.findall(unicodedata.normalize("NFKC", text)))


def report_numerals(differ: Mask) -> Check:
    """Count the pairs whose numerals differ; they stay."""
    many = int(differ.sum())
    detail = f"{many:,} pairs; validate.numerals: set_aside would take them out" if many else ""
    sentence = "pairs whose numerals differ are known; many are a number in digits on one side, in words on the other"
    return Check("numerals", sentence, CAME, len(differ), 0, passed=True, detail=detail)
