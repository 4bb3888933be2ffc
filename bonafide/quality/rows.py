"""The rows of a table: the split of each, all that is wrong with it, and whether it is passed on or set aside."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from bonafide.quality.splits import TEST, TRAIN, VALIDATION

Faults = Mapping[str, Bools]
"""A mask for each reason to set a row aside: (n,) bool, True where a row has the fault."""

Search = Callable[[Ints, Ints], duplicates.Near]
"""A search for near-duplicates among some rows, by their numbers and the ranks of their splits, both (m,).

Of each that nearly equals one of lower rank, both places among the m.
"""

NEAR = "near_duplicate"  # a reason, or the column that says of what


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
    near: Search | None = None
    """How near-duplicates of rows in other splits are found; None: they are not looked for."""
    near_stay: bool = False
    """Whether they are passed on: a column `near_duplicate` then names a row of train for each that is like one, and is
    null for all others. Otherwise those of train and validation are set aside."""
    expectations: Sequence[Expectation]
    """What must hold of the table as it came, but for the share that may be set aside, and of all that is passed on."""
    measured: pa.Table | None = None
    """What they are about, a row for each of the table's, with `id`; None: the table's own columns."""
    checks: Sequence[Check] = ()
    """What else must hold of the table as it came."""
    causes: Mapping[str, str] = field(default_factory=dict)
    """The key of params.yaml that a reason to set a row aside follows from, where it follows from one."""
    notes: pa.ChunkedArray | None = None
    """(n,) more on the reasons of each row in a few words of ours, null where there is no more to say."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What there is to say at the top of the page, by what it is about."""
    tables: Sequence[Figure] = ()
    """And to show above the rows that are set aside."""
    figures: Callable[[Bools], Sequence[Figure]] | None = None
    """And to show of the rows that are passed on, (n,) True, beside what the task shows of their columns."""
    picture: Callable[[int], str] | None = None
    """A picture of a row for pages, as the data: URI of a PNG of our own making; empty where there is none."""
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
    """Near-duplicates in a split of lower rank, those between two test sets included; None: not looked for.

    Where they stay: those of rows of train in all other splits."""
    near_stay: bool = False
    """Whether near-duplicates are passed on."""

    @property
    def set_aside(self) -> Bools:
        """(n,) whether a row has any fault."""
        return any_of(self.faults.values())

    def counts(self) -> dict[str, int]:
        """Rows per reason; their sum exceeds the rows, since a row keeps all its reasons."""
        return {name: int(mask.sum()) for name, mask in self.faults.items()}

    def kept(self) -> pa.Table:
        """The rows that are passed on, as they are written, with `split`; a row without a group is its own."""
        table = self.table
        if self.near is not None and self.near_stay:
            table = table.append_column(NEAR, _named(table["id"], self.near))
        table = table.filter(pa.array(~self.set_aside))
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
        return 0 if self.near is None or self.near_stay else int((~self.faults[NEAR])[self.near.rows].sum())

    def near_by_split(self) -> dict[str, int]:
        """Of each split but train, the near-duplicates of rows of train that stay in it."""
        if self.near is None or not self.near_stay:
            return {}
        place = pc.index_in(self.table["split"], value_set=pa.array(self.order)).to_numpy()[self.near.rows]
        counts = np.bincount(place, minlength=len(self.order)).tolist()
        return {name: n for name, n in zip(self.order, counts, strict=True) if name != TRAIN}


def _named(ids: pa.ChunkedArray, near: duplicates.Near) -> pa.Array:
    """Of each row (n,) the id of its partner, null where it has none."""
    places = np.full(len(ids), -1, dtype=np.int64)
    places[near.rows] = near.partners
    return pc.take(ids, pa.array(places, mask=places < 0)).combine_chunks()


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
    if found.near is not None:
        near = _near(found.near, faults, (priority != 2).astype(np.int64) if found.near_stay else rank)
        if not found.near_stay:
            faults[NEAR] = np.zeros(len(rank), dtype=np.bool_)
            faults[NEAR][near.rows[priority[near.rows] > 0]] = True
    table = table.drop_columns("split").append_column("split", split)
    return Rows(table, order, faults, near, found.near_stay)


def _shared(found: Examined, rank: Ints, priority: Ints) -> dict[str, Bools]:
    """Rows that are the same as others, contradict them, or share a group with a split that is worth more."""
    sound, faults = ~any_of(found.faults.values()), {}
    if found.unique:
        name, answers = found.answers or ("", None)
        order = np.where(sound, rank, rank + len(rank))
        faults["duplicate"], conflicting = duplicates.find_exact(found.identity, answers, order)
        faults |= {f"conflicting_{name}": conflicting} if found.answers else {}
    return {**faults, "leaked_group": splits.leaked(found.table["group"], priority, sound)}


def _near(search: Search, faults: Faults, rank: Ints) -> duplicates.Near:
    """Near-duplicates among the rows without faults."""
    sound = np.flatnonzero(~any_of(faults.values()))
    found = search(sound, rank[sound])
    return duplicates.Near(sound[found.rows], sound[found.partners])
