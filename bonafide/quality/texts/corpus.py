"""A corpus: texts without labels. What may be wrong with a text, and with what its splits share.

A language model repeats what it has read often and is good at what it has read before: so lines that many texts have,
and texts of test that stand in train, are measured. N-grams are of words, or in scripts without spaces of characters.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bonafide.quality import duplicates, figures, pii, text_faults
from bonafide.quality.checks import Check
from bonafide.quality.expectations import Expectation, expect
from bonafide.quality.figures import Figure
from bonafide.quality.offers import round_up
from bonafide.quality.rows import Examined
from bonafide.quality.splits import TRAIN
from bonafide.quality.tabular import check_rows

LACUNA = "[□■〓]"  # what editors print for a character that is lost
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # Thai to Chinese
UNIT = re.compile(rf"[{SPACELESS}]|[^\W{SPACELESS}]+")
N = 8  # of words: few are shared by chance, 0 of Shakespeare's last tenth with what is before it; five are 0.05 %
CAUSES = {
    "too_short": "validate.min_characters",
    "too_long": "validate.max_characters",
    "lacunae": "validate.max_lacunae",
    "near_duplicate": "validate.near_duplicate_similarity",
    "personal_data": "validate.personal_data",
}


def examine(table: pa.Table, limits: Any) -> Examined:
    """Faults of the texts of a table, and personal data in them; `limits` is the `validate` section."""
    broken = text_faults.undecodable(table["text"])
    texts = text_faults.without(table["text"], broken)
    personal = pii.scan(texts, limits.max_characters)  # longer ones go anyway
    texts = personal.masked if limits.personal_data == "mask" else texts
    faults = {
        "invalid_utf8": broken,
        **text_faults.text_faults(texts, limits.min_characters, limits.max_characters),
        "lacunae": text_faults.to_mask(pc.greater(lacunae(texts), limits.max_lacunae)),
    }
    faults["null_text"] &= ~broken
    if limits.personal_data == "fail":
        faults["personal_data"] = personal.any_kind
    identity = duplicates.normalise(texts)
    return Examined(
        table=table.set_column(table.schema.get_field_index("text"), "text", texts),
        faults=faults,
        identity=identity,
        unique=True,
        near=partial(duplicates.search, identity, limits.near_duplicate_similarity),
        expectations=expectations(limits),
        checks=[pii.check(personal, table["id"])] if limits.personal_data == "fail" else [],
        causes=CAUSES,
        facts={"Personal data": personal.words()},
        metrics={f"personal_data/{kind}": n for kind, n in personal.values.items()},
    )


def lacunae(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """The share of each text's characters that stand for lost ones, (n,) float64, null where there is no text."""
    return pc.divide(pc.cast(pc.count_substring_regex(texts, LACUNA), pa.float64()), pc.utf8_length(texts))


def expectations(limits: Any) -> list[Expectation]:
    """What a table must hold, row by row but for the share that quarantine may take."""
    mostly: dict[str, Any] = {"mostly": 1 - limits.max_quarantine_fraction}
    low, high = limits.min_characters, limits.max_characters
    between: dict[str, Any] = {"column": "text", "min_value": low, "max_value": high, **mostly}
    return [
        expect("the column is there", "table_columns_to_match_set", column_set=["text"], exact_match=False),
        expect("every text is a string", "column_values_to_be_of_type", column="text", type_="str"),
        expect("every row has a text", "column_values_to_not_be_null", column="text", **mostly),
        expect(f"every text has {low:,} to {high:,} characters", "column_value_lengths_to_be_between", **between),
    ]


def checks(kept: pa.Table, limits: Any) -> list[Check]:
    """Enough rows of each split; how much its lines repeat, and what test has that train lacks or has already."""
    parts = by_split(kept)
    train, others = parts.get(TRAIN, []), {name: texts for name, texts in sorted(parts.items()) if name != TRAIN}
    repeated = repeated_lines(kept["text"].to_pylist())
    sentence = f"at most {limits.max_repeated_lines:.1%} of the characters are in lines that several texts have"
    found = [
        check_rows({name: kept.filter(pc.equal(kept["split"], name)) for name in parts}, limits.min_rows),
        _limit("repeated_lines", sentence, "rows passed on", repeated, "max_repeated_lines", limits),
    ]
    known = set("".join(train))
    for name, texts in others.items():
        sentence = f"at most {limits.max_unknown_characters:.2%} of the characters are none of train's"
        unknown = unknown_characters(texts, known)
        found.append(_limit("unknown_characters", sentence, name, unknown, "max_unknown_characters", limits))
    for name, shared in known_ngrams(train, others).items():
        sentence = f"at most {limits.max_known_ngrams:.1%} of the {N}-grams are in train"
        found.append(_limit("known_ngrams", sentence, name, shared, "max_known_ngrams", limits))
    return found


def by_split(kept: pa.Table) -> dict[str, list[str]]:
    """The texts of each split."""
    return {
        name: kept["text"].filter(pc.equal(kept["split"], name)).to_pylist()
        for name in pc.unique(kept["split"]).to_pylist()
    }


def repeated_lines(texts: Sequence[str]) -> tuple[int, int]:
    """Characters of the lines that stand in several of the texts, and of all lines."""
    lines = [[line.strip() for line in text.splitlines() if line.strip()] for text in texts]
    holders = Counter(line for found in lines for line in set(found))
    every = [line for found in lines for line in found]
    return sum(len(line) for line in every if holders[line] > 1), sum(map(len, every))


def unknown_characters(texts: Sequence[str], known: set[str]) -> tuple[int, int]:
    """Characters that are none of the `known` ones, and all of them."""
    counts = Counter("".join(texts))
    return sum(n for mark, n in counts.items() if mark not in known), counts.total()


def known_ngrams(train: Sequence[str], others: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, int]]:
    """Of each other split, the n-grams that train has, and all of them."""
    codes: dict[str, int] = {}
    theirs = ngrams(train, codes)
    found = {name: ngrams(texts, codes) for name, texts in others.items()}
    return {name: (int(np.isin(hashes, theirs).sum()), len(hashes)) for name, hashes in found.items()}


def ngrams(texts: Sequence[str], codes: dict[str, int]) -> npt.NDArray[np.uint64]:
    """A 64-bit polynomial hash of each n-gram of each text; `codes` numbers the words, and gets the new ones."""
    words = [UNIT.findall(text.casefold()) for text in texts]
    lengths = np.array([len(found) for found in words], dtype=np.int64)
    flat = np.array([codes.setdefault(word, len(codes) + 1) for found in words for word in found], dtype=np.uint64)
    starts = np.arange(len(flat))
    starts = starts[starts + N <= np.repeat(np.cumsum(lengths), lengths)]  # those that end in their own text
    hashes = np.zeros(len(starts), dtype=np.uint64)
    for place in range(N):
        hashes = (hashes + flat[starts + place]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _limit(name: str, sentence: str, rows: str, found: tuple[int, int], key: str, limits: Any) -> Check:
    """A check that a share stays within the limit `key`; what is within it is told all the same."""
    failing, checked = found
    share, most = failing / max(1, checked), getattr(limits, key)
    return Check(
        name=name,
        sentence=sentence,
        rows=rows,
        checked=checked,
        failing=failing,
        passed=share <= most,
        limit=f"{most:.2%}",
        key=f"validate.{key}",
        value=most,
        passing=round_up(share),
    )


def show(kept: pa.Table, splits: Sequence[str]) -> list[Figure]:
    """Lengths of texts, and how many characters each split has."""
    lengths = pc.utf8_length(kept["text"])
    totals = {name: pc.sum(lengths.filter(pc.equal(kept["split"], name))).as_py() or 0 for name in splits}
    return [
        figures.bars("Characters in each split", totals),
        figures.histogram("Characters per text", lengths.to_numpy()),
    ]
