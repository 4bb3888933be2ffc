"""Train, validation or test: a pure function of (seed, group), so that rows added later move no old row."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bonafide.project.arrays import Bools, Ints
from bonafide.project.errors import InputError
from bonafide.project.randomness import hashed_uniform

TRAIN, VALIDATION, TEST = "train", "validation", "test"
FITTED = (TRAIN, VALIDATION, TEST)  # all others are held-out sets beside test
NAME = r"^[a-z][a-z0-9_]{0,40}$"
RESERVED = "quarantine"  # the file beside the splits


def check_names(splits: pa.ChunkedArray) -> None:
    """Raise InputError for a split of the table's that cannot be a file name of ours."""
    names = pc.unique(splits).drop_null()
    wrong = pc.or_(pc.invert(pc.match_substring_regex(names, NAME)), pc.equal(names, RESERVED))
    for name in sorted(names.filter(wrong).to_pylist()):
        raise InputError(f"split {name[:60]!r}: a split's name is a lower-case word other than {RESERVED!r}")


def assign(splits: pa.ChunkedArray, groups: pa.ChunkedArray, fractions: dict[str, float], seed: int) -> pa.Array:
    """Give every row a split: its own, or one cut from the pool of rows without a split and of train.

    `splits` (n,) strings, null where the table has none; `groups` (n,) strings without nulls; `fractions` of the pool
    for validation and test, used only for those that the table does not bring.
    """
    brought = set(pc.unique(splits).to_pylist())
    missing = {name: fraction for name, fraction in fractions.items() if name not in brought}
    if sum(missing.values()) >= 1:
        raise InputError("params.yaml: validate: validation_fraction and test_fraction leave nothing to train on")
    given = pc.fill_null(splits, TRAIN).combine_chunks()
    encoded = groups.combine_chunks().dictionary_encode()
    drawn = hashed_uniform(encoded.dictionary.to_pylist(), seed)[encoded.indices.to_numpy()]
    cut = pc.if_else(pa.array(drawn < missing.get(TEST, 0)), TEST, TRAIN)
    # validation is cut from the other end, so that neither fraction's change moves rows of the other split
    cut = pc.if_else(pa.array(drawn >= 1 - missing.get(VALIDATION, 0)), VALIDATION, cut)
    return pc.if_else(pc.equal(given, TRAIN), cut.cast(given.type), given)


def check_group_sizes(splits: pa.ChunkedArray, groups: pa.ChunkedArray, fractions: dict[str, float]) -> None:
    """Raise InputError if a declared group cannot fit into a split that has to be cut; `groups` may have nulls."""
    brought = set(pc.unique(splits).to_pylist())
    missing = {name: fraction for name, fraction in fractions.items() if name not in brought and fraction > 0}
    pool = pc.equal(pc.fill_null(splits, TRAIN), TRAIN)
    sizes = pc.value_counts(groups.filter(pool).drop_null())
    if not missing or not len(sizes):
        return
    name, fraction = min(missing.items(), key=lambda item: (item[1], item[0]))
    expected = fraction * pc.sum(pool).as_py()
    largest = sizes[pc.index(sizes.field("counts"), pc.max(sizes.field("counts"))).as_py()].as_py()
    if largest["counts"] > expected:
        raise InputError(
            f"group {largest['values'][:60]!r}: its {largest['counts']:,} rows do not fit into {name}, "
            f"which is to have {expected:,.0f} ({fraction:g} of the rows without a split)"
        )


def ranks(splits: pa.Array) -> tuple[list[str], Ints]:
    """Split names by how much a row is worth there, and every row's place, (n,) int64.

    Test comes first, then held-out sets by name, validation, train: where two splits share a text, the row of the
    later one goes, since a smaller training set harms less than a test set that was trained on.
    """
    names = set(pc.unique(splits).to_pylist())
    order = [name for name in (TEST, *sorted(names - set(FITTED)), VALIDATION, TRAIN) if name in names]
    return order, pc.index_in(splits, value_set=pa.array(order, splits.type)).to_numpy().astype(np.int64)


def priorities(order: list[str], rank: Ints) -> Ints:
    """What a row is worth by the use of its split: 0 to be tested on, 1 to be chosen by, 2 to be trained on."""
    return np.array([{VALIDATION: 1, TRAIN: 2}.get(name, 0) for name in order], dtype=np.int64)[rank]


def leaked(groups: pa.ChunkedArray, priority: Ints, usable: Bools) -> Bools:
    """Find rows (n,) whose group also stands in a split of lower priority number, in a usable row.

    Only a table that brings its own splits can have them; rows without a group (null) have no part.
    """
    codes = pc.fill_null(groups.combine_chunks().dictionary_encode().indices, -1).to_numpy().astype(np.int64)
    first = np.full(int(codes.max(initial=-1)) + 2, 2, dtype=np.int64)  # its last place stands for null, -1
    known = (codes >= 0) & usable
    np.minimum.at(first, codes[known], priority[known])
    behind: Bools = priority > first[codes]
    return behind
