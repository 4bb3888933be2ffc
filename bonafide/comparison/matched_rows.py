"""What two revisions predicted on the rows that both of them have."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bonafide.evaluation import predictions
from bonafide.evaluation.predictions import Predictions
from bonafide.evaluation.slices import Slice, cut
from bonafide.project.arrays import Floats, Ints
from bonafide.project.errors import InputError
from bonafide.project.paths import EVALUATION, PREDICTIONS, TOKENIZED, VALIDATED
from bonafide.provenance.revisions import Revision

NOT_OURS = (pa.ArrowException, LookupError, RecursionError, TypeError, ValueError)  # what a file of others raises
SYSTEM = "model"
OWN = ("id", "text", "label", "group")  # columns of a validated table; the others are the slices


@dataclass(frozen=True)
class Side:
    """What a revision's model predicted on one split."""

    name: str
    primary: str
    classes: list[str]
    """By name, so that both sides have one order."""
    split: Predictions
    numbered: bool
    """Whether its ids are but the numbers of rows."""
    table: pa.Table | None
    """Its texts and slice columns, row by row; None where they are not at hand."""
    lacking: str
    """Why not, or ""."""


@dataclass(frozen=True)
class Pair:
    """The rows that two revisions share, in an order that depends on their keys alone."""

    primary: str
    groups: list[str]
    labels: Ints
    """(n,) class indices, as the head has them: the later word on what is right."""
    base: Floats
    """(n, classes) probabilities."""
    head: Floats
    slices: list[Slice]
    """Cut of all of the head's rows, as its report has them; their `rows` are places among the shared ones."""
    unsliced: str
    """Why there are no slices, or ""."""
    counts: dict[str, Any]
    """Rows that are common, in one revision only, relabelled, with another text (None: not known)."""


def pair(base: Revision, head: Revision, split: str) -> Pair:
    """Match the rows of `split` by their ids, or by their texts where the ids are but numbers of rows.

    Raise InputError where a file is missing, the labels differ or fewer than two rows are in both.
    """
    old, new = read(base, split), read(head, split)
    if old.classes != new.classes:
        theirs, ours = (", ".join(map(repr, side.classes[:8])) for side in (old, new))
        raise InputError(f"{old.name} and {new.name} have different labels: {theirs} and {ours}")
    before, after = match(*keys(old, new))
    pieces, unsliced = slices(head, new, split, after)
    if len(before) < 2:
        raise InputError(f"{old.name} and {new.name}: {len(before) or 'none'} of their rows of {split} are the same")
    return Pair(
        primary=new.primary,
        groups=[new.split.groups[row] for row in after],
        labels=new.split.labels[after],
        base=old.split.systems[SYSTEM][before],
        head=new.split.systems[SYSTEM][after],
        slices=pieces,
        unsliced=unsliced,
        counts=count(old, new, before, after),
    )


def read(revision: Revision, split: str) -> Side:
    """One side; raise InputError where its predictions are missing or none."""
    evaluation, content = revision.read(EVALUATION), revision.read(PREDICTIONS)
    place = f"{revision.name}: {PREDICTIONS}"
    try:
        facts = json.loads(evaluation)
        labels = [str(label) for label in facts["labels"]]
        splits = predictions.read(io.BytesIO(content), labels)
        columns = revision.params()["data"]["columns"]
        primary = str(facts["primary"])
    except NOT_OURS as error:
        raise InputError(f"{place}: not what evaluate writes ({type(error).__name__}); run: dvc repro") from None
    if split not in splits:
        raise InputError(f"{place}: has no split {split!r}, but {', '.join(splits)}")
    found = by_name(splits[split], labels, place)
    table, lacking = look_up(revision, split, found.ids)
    return Side(revision.name, primary, sorted(labels), found, "id" not in columns, table, lacking)


def by_name(split: Predictions, labels: Sequence[str], place: str) -> Predictions:
    """A split with its classes by name, its model alone; raise InputError where that holds no probabilities."""
    order = sorted(range(len(labels)), key=labels.__getitem__)
    model = split.systems.get(SYSTEM, np.full((0, 0), np.nan))
    if not (np.isfinite(model).all() and (model >= 0).all() and model.shape == (len(split.ids), len(labels))):
        raise InputError(f"{place}: has no probabilities of the {SYSTEM}")
    if None in split.ids or None in split.groups:
        raise InputError(f"{place}: a row has no id or no group")
    if len(set(split.ids)) < len(split.ids):
        twice = Counter(split.ids).most_common(1)[0][0]
        raise InputError(f"{place}: the id {twice[:60]!r} is there twice")
    return Predictions(split.ids, split.groups, np.argsort(order)[split.labels], {SYSTEM: model[:, order]})


def look_up(revision: Revision, split: str, ids: Sequence[str]) -> tuple[pa.Table | None, str]:
    """The validated rows of a split, or why they are not at hand."""
    path = VALIDATED / f"{split}.parquet"
    try:
        table = pq.read_table(io.BytesIO(revision.read(path)))
        if table["id"].to_pylist() == list(ids):
            return table, ""
    except InputError as error:
        return None, str(error)
    except NOT_OURS:
        pass
    return None, f"{revision.name}: {path} is not the table that was evaluated"


def keys(old: Side, new: Side) -> tuple[list[Any], list[Any]]:
    """What tells the rows of each side apart."""
    if not (old.numbered or new.numbered):
        return old.split.ids, new.split.ids
    found = []
    for side in (old, new):
        if side.table is None:
            raise InputError(f"rows without ids are matched by their texts, but {side.lacking}")
        found.append(numbered(side.table["text"].to_pylist()))
    return found[0], found[1]


def numbered(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Each text with how often it stood above."""
    above: Counter[str] = Counter()
    places = []
    for text in texts:
        places.append((text, above[text]))
        above[text] += 1
    return places


def match(old: Sequence[Any], new: Sequence[Any]) -> tuple[Ints, Ints]:
    """The places of the shared keys in each, by key."""
    places = {key: row for row, key in enumerate(old)}
    shared = sorted((key, row) for row, key in enumerate(new) if key in places)
    before = np.array([places[key] for key, _ in shared], dtype=np.int64)
    return before, np.array([row for _, row in shared], dtype=np.int64)


def count(old: Side, new: Side, before: Ints, after: Ints) -> dict[str, Any]:
    """How the rows of the sides differ."""
    counts: dict[str, Any] = {
        "common": len(before),
        "base_only": len(old.split.ids) - len(before),
        "head_only": len(new.split.ids) - len(after),
        "relabelled": int((old.split.labels[before] != new.split.labels[after]).sum()),
        "text_changed": None,
    }
    if old.table is not None and new.table is not None:
        texts, others = (np.array(table["text"].to_pylist(), dtype=object) for table in (old.table, new.table))
        counts["text_changed"] = int((texts[before] != others[after]).sum())
    return counts


def slices(revision: Revision, side: Side, split: str, shared: Ints) -> tuple[list[Slice], str]:
    """The slices that the revision's report has, of its `shared` rows, or why there are none."""
    if side.table is None:
        return [], side.lacking
    path = TOKENIZED / split / "offsets.npy"
    try:
        lengths = np.diff(np.load(io.BytesIO(revision.read(path)), allow_pickle=False))
        columns = [name for name in side.table.column_names if name not in OWN]
        cuts = cut(side.table, columns, lengths)
    except InputError as error:
        return [], str(error)
    except NOT_OURS:
        return [], f"{revision.name}: {path} is not of the rows that were evaluated"
    place = np.full(len(side.split.ids), -1)
    place[shared] = np.arange(len(shared))
    kept = ((piece, place[piece.rows]) for piece in cuts)
    return [Slice(piece.column, piece.value, rows[rows >= 0]) for piece, rows in kept if (rows >= 0).any()], ""
