"""What two revisions predicted on the rows that both of them have."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from bonafide.evaluation import predictions, row_facts
from bonafide.evaluation.predictions import Predictions
from bonafide.evaluation.slices import Slice
from bonafide.project.arrays import Ints
from bonafide.project.errors import InputError
from bonafide.project.paths import EVALUATION, PREDICTIONS, ROWS
from bonafide.protocol import MODEL_SYSTEM, Facts, Outputs, Score, Targets, load
from bonafide.provenance.revisions import Revision

NOT_OURS = (
    pa.ArrowException,
    ImportError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)  # what others' files raise


@dataclass(frozen=True)
class Side:
    """What a revision's model predicted on one split."""

    name: str
    task: str
    settings: Facts
    """Of the task's `score`, in its comparable form, as the model's outputs are."""
    split: Predictions
    numbered: bool
    """Whether its ids are but the numbers of rows."""
    order: list[tuple[str, str]]
    """Columns and values of its slices, as its report has them."""
    facts: pa.Table | None
    """Its bonafide.evaluation.row_facts, row by row; None where they are not at hand."""
    lacking: str
    """Why not, or ""."""


@dataclass(frozen=True)
class Pair:
    """The rows that two revisions share, in an order that depends on their keys alone."""

    task: str
    settings: Facts
    """Of the task's `score`."""
    groups: list[str]
    targets: Targets
    """(n,) the truth as the head has it: the later word on what is right."""
    base: Outputs
    """(n, ...)."""
    head: Outputs
    slices: list[Slice]
    """Those of the head's report; their `rows` are places among the shared ones."""
    unsliced: str
    """Why there are no slices, or ""."""
    counts: dict[str, Any]
    """Rows that are common, in one revision only, with another target, with other inputs (None: not known)."""


def pair(base: Revision, head: Revision, split: str) -> Pair:
    """Match the rows of `split` by their ids, or by their inputs where the ids are but numbers of rows.

    Raise InputError where a file is missing, the tasks differ or fewer than two rows are in both.
    """
    old, new = read(base, split), read(head, split)
    refuse_unlike(old, new)
    before, after = match(*keys(old, new))
    if len(before) < 2:
        raise InputError(f"{old.name} and {new.name}: {len(before) or 'none'} of their rows of {split} are the same")
    pieces, unsliced = slices(new, after)
    return Pair(
        task=new.task,
        settings=new.settings,
        groups=[new.split.groups[row] for row in after],
        targets=new.split.targets[after],
        base=old.split.systems[MODEL_SYSTEM][before],
        head=new.split.systems[MODEL_SYSTEM][after],
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
        score = load(str(facts["task"]), Score)
        splits = predictions.read(io.BytesIO(content), score.TARGET)
        columns = revision.params()["data"]["columns"]
        order = {
            name: [(str(one["column"]), str(one["value"])) for one in found["slices"]]
            for name, found in facts["splits"].items()
        }
        settings = facts["settings"]
    except NOT_OURS as error:
        raise InputError(f"{place}: not what evaluate writes ({type(error).__name__}); run: dvc repro") from None
    if split not in splits:
        raise InputError(f"{place}: has no split {split!r}, but {', '.join(splits)}")
    found, settings = comparable(splits[split], score, settings, place)
    table, lacking = look_up(revision, split, found.ids)
    return Side(
        revision.name, facts["task"], settings, found, "id" not in columns, order.get(split, []), table, lacking
    )


def comparable(split: Predictions, score: Score, settings: Facts, place: str) -> tuple[Predictions, Facts]:
    """A split as any revision would have it, its model alone; raise InputError where that is not of the task."""
    try:
        outputs, settings = score.comparable(split.systems[MODEL_SYSTEM], settings)
        score.row_sums(split.targets, outputs, settings)
    except NOT_OURS as error:
        raise InputError(f"{place}: the column {MODEL_SYSTEM!r}: {error}") from None
    if None in split.ids or None in split.groups:
        raise InputError(f"{place}: a row has no id or no group")
    if len(set(split.ids)) < len(split.ids):
        twice = Counter(split.ids).most_common(1)[0][0]
        raise InputError(f"{place}: the id {twice[:60]!r} is there twice")
    return Predictions(split.ids, split.groups, split.targets, {MODEL_SYSTEM: outputs}), settings


def refuse_unlike(old: Side, new: Side) -> None:
    """Raise InputError that names what the sides are of: another task, or another setting of its score."""
    both = f"{old.name} and {new.name} have different"
    if old.task != new.task:
        raise InputError(f"{both} tasks: {old.task} and {new.task}")
    for key in sorted({*old.settings, *new.settings}):
        before, after = old.settings.get(key), new.settings.get(key)
        if before != after:
            raise InputError(f"{both} {key}: {shown(before)} and {shown(after)}")


def shown(value: Any) -> str:
    """A setting, of a list its first members."""
    return ", ".join(map(repr, value[:8])) if isinstance(value, list) else repr(value)


def look_up(revision: Revision, split: str, ids: Sequence[str]) -> tuple[pa.Table | None, str]:
    """The facts of a split's rows, or why they are not at hand."""
    try:
        facts = row_facts.read(io.BytesIO(revision.read(ROWS)), split)
        if facts["id"].to_pylist() == list(ids):
            return facts, ""
    except InputError as error:
        return None, str(error)
    except NOT_OURS:
        pass
    return None, f"{revision.name}: {ROWS} is not of the rows that were evaluated"


def keys(old: Side, new: Side) -> tuple[list[Any], list[Any]]:
    """What tells the rows of each side apart."""
    if not (old.numbered or new.numbered):
        return old.split.ids, new.split.ids
    found = []
    for side in (old, new):
        if side.facts is None:
            raise InputError(f"rows without ids are matched by their inputs, but {side.lacking}")
        found.append(numbered(side.facts["inputs"].to_pylist()))
    return found[0], found[1]


def numbered(inputs: Sequence[str]) -> list[tuple[str, int]]:
    """Each row's inputs with how often they stood above."""
    above: Counter[str] = Counter()
    places = []
    for one in inputs:
        places.append((one, above[one]))
        above[one] += 1
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
        "targets_changed": int((old.split.targets[before] != new.split.targets[after]).sum()),
        "inputs_changed": None,
    }
    if old.facts is not None and new.facts is not None:
        inputs, others = (np.array(side["inputs"].to_pylist(), dtype=object) for side in (old.facts, new.facts))
        counts["inputs_changed"] = int((inputs[before] != others[after]).sum())
    return counts


def slices(side: Side, shared: Ints) -> tuple[list[Slice], str]:
    """The slices that a revision's report has, of its `shared` rows, or why there are none."""
    if side.facts is None:
        return [], side.lacking
    try:
        cuts = row_facts.slices(side.facts, side.order)
    except KeyError as error:
        return [], f"{side.name}: {ROWS} has no slice {error}"
    place = np.full(len(side.split.ids), -1)
    place[shared] = np.arange(len(shared))
    kept = ((piece, place[piece.rows]) for piece in cuts)
    return [Slice(piece.column, piece.value, rows[rows >= 0]) for piece, rows in kept if (rows >= 0).any()], ""
