"""The rows of a table: the split of each, all that is wrong with it, and whether it is passed on or set aside."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bonafide.params.sections import Validate
from bonafide.project.arrays import Bools, Ints, Metrics
from bonafide.quality import duplicates, splits
from bonafide.quality.checks import Check
from bonafide.quality.expectations import Expectation
from bonafide.quality.figures import Figure
from bonafide.quality.splits import TEST, VALIDATION

Faults = Mapping[str, Bools]
"""A mask for each reason to set a row aside: (n,) bool, True where a row has the fault."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What a task finds in a table of n rows as it came, each row by itself."""

    table: pa.Table
    """As it is passed on, but for rows that are set aside: with texts masked, say."""
    faults: Faults
    identity: pa.ChunkedArray
    """(n,) strings by which rows are the same, and so in one split where the table has no groups. Null is like no
    other."""
    unique: bool
    """Whether of rows that are the same one is enough, and the others are duplicates."""
    answers: tuple[str, pa.ChunkedArray] | None = None
    """What rows that are the same have to agree on, if they are unique: its column, and (n,) strings, null where a row
    has none."""
    similarity: float | None = None
    """Jaccard similarity of the identities' character 5-grams from which two rows are near-duplicates; or none are
    looked for."""
    expectations: Sequence[Expectation]
    """What must hold of the table as it came, but for the share that may be set aside, and of all that is passed on."""
    checks: Sequence[Check] = ()
    """What else must hold of the table as it came."""
    causes: Mapping[str, str] = field(default_factory=dict)
    """The key of params.yaml that a reason to set a row aside follows from, where it follows from one."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What there is to say at the top of the page, by what it is about."""
    tables: Sequence[Figure] = ()
    """And to show above the rows that are set aside."""
    metrics: Metrics = field(default_factory=dict)
    """And to count, for reports/validate.json."""


@dataclass(frozen=True)
class Rows:
    """All rows of a table."""

    table: pa.Table
    """With their `split`."""
    order: Sequence[str]
    """The splits, by how much a row is worth there (quality.splits.ranks)."""
    faults: Faults
    near: duplicates.Near | None
    """Near-duplicates in a split of lower rank, those between two test sets included; None: not looked for."""

    @property
    def set_aside(self) -> Bools:
        """(n,) whether a row has any fault."""
        return any_of(self.faults.values())

    def counts(self) -> dict[str, int]:
        """Rows per reason; their sum exceeds the rows, since a row keeps all its reasons."""
        return {name: int(mask.sum()) for name, mask in self.faults.items()}

    def kept(self) -> pa.Table:
        """The rows that are passed on, as they are written, with `split`; a row without a group is its own."""
        table = self.table.filter(pa.array(~self.set_aside))
        place = table.schema.get_field_index("group")
        return table.set_column(place, "group", pc.coalesce(table["group"], table["id"]))

    def quarantine(self) -> pa.Table:
        """Columns id, split and reasons (list of strings) of the rows that are not, in their order."""
        names = sorted(self.faults)
        rows = np.flatnonzero(self.set_aside)
        matrix = np.stack([self.faults[name][rows] for name in names], axis=1)
        offsets = np.concatenate(([0], np.cumsum(matrix.sum(axis=1)))).astype(np.int32)
        reasons = pa.ListArray.from_arrays(pa.array(offsets), pa.array(names).take(pa.array(np.nonzero(matrix)[1])))
        found = self.table.select(["id", "split"]).take(pa.array(rows))
        return found.append_column("reasons", reasons)

    def near_between_tests(self) -> int:
        """Near-duplicates that stay: none of them is trained on, nor chosen by."""
        return 0 if self.near is None else int((~self.faults["near_duplicate"])[self.near.rows].sum())


def any_of(masks: Iterable[Bools]) -> Bools:
    """Where any of the masks is True."""
    found: Bools = np.logical_or.reduce(list(masks))
    return found


def split_rows(found: Examined, limits: Validate, seed: int) -> Rows:
    """Give every row a split, and find the faults that it has because of others; faulty rows never push out sound ones.

    Raises InputError for a group that no split can hold.
    """
    table = found.table
    fractions = {VALIDATION: limits.validation_fraction, TEST: limits.test_fraction}
    splits.check_group_sizes(table["split"], table["group"], fractions)
    split = splits.assign(table["split"], pc.coalesce(table["group"], found.identity, table["id"]), fractions, seed)
    order, rank = splits.ranks(split)
    priority = splits.priorities(order, rank)
    faults = {**found.faults, **_shared(found, rank, priority)}
    near = None
    if found.similarity is not None:
        faults["near_duplicate"], near = _near(found.identity, faults, rank, priority, found.similarity)
    return Rows(table.drop_columns("split").append_column("split", split), order, faults, near)


def _shared(found: Examined, rank: Ints, priority: Ints) -> dict[str, Bools]:
    """Rows that are the same as others, contradict them, or share a group with a split that is worth more."""
    sound, faults = ~any_of(found.faults.values()), {}
    if found.unique:
        name, answers = found.answers or ("", None)
        order = np.where(sound, rank, rank + len(rank))
        faults["duplicate"], conflicting = duplicates.find_exact(found.identity, answers, order)
        faults |= {f"conflicting_{name}": conflicting} if found.answers else {}
    return {**faults, "leaked_group": splits.leaked(found.table["group"], priority, sound)}


def _near(
    identity: pa.ChunkedArray, faults: Faults, rank: Ints, priority: Ints, similarity: float
) -> tuple[Bools, duplicates.Near]:
    """Near-duplicates among the rows without faults; those in train and validation are faulty."""
    sound = np.flatnonzero(~any_of(faults.values()))
    found = duplicates.find_near(identity.take(pa.array(sound)).to_pylist(), rank[sound], similarity)
    near = duplicates.Near(sound[found.rows], sound[found.partners])
    faulty = np.zeros(len(rank), dtype=np.bool_)
    faulty[near.rows[priority[near.rows] > 0]] = True
    return faulty, near
