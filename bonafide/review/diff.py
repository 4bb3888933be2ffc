"""What differs between two revisions besides the metrics: parameters, rows of the data, stages."""

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa

from bonafide.evaluation.row_facts import fingerprint
from bonafide.project.console import printable
from bonafide.project.dvc_lock import locked_key
from bonafide.project.environment import flatten
from bonafide.project.errors import InputError
from bonafide.project.paths import LOCK, REPORTS, VALIDATED
from bonafide.project.yaml_files import parse_yaml
from bonafide.protocol import Score, load
from bonafide.provenance.revisions import Revision, show
from bonafide.review.schema import LONGEST, ROWS, Change, Changes, Data, Rows, Stage, Total, Why

Facts = dict[str, Any]
Row = tuple[str, Any, str]  # split, target, hash of the inputs
OWN = ("id", "group", "split")
COUNTS = REPORTS / "validate.json"
CODE = ("bonafide", "stages")


def word(value: object) -> str:
    """`value` as one line of at most `LONGEST` visible characters."""
    text = " ".join(printable(str(value)).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def params(base: Revision, head: Revision, files: Sequence[Path]) -> Changes:
    """Every parameter of `files` that differs, in the order of its name."""
    found = [change for file in dict.fromkeys(files) for change in _changes(file, base, head)]
    return Changes(total=len(found), shown=found[:ROWS])


def _changes(file: Path, base: Revision, head: Revision) -> list[Change]:
    before, after = _flat(base, file), _flat(head, file)
    keys = sorted(key for key in before | after if before.get(key) != after.get(key))
    return [
        Change(file=file.as_posix(), key=word(k), base=_word(before.get(k)), head=_word(after.get(k))) for k in keys
    ]


def _flat(revision: Revision, file: Path) -> dict[str, str]:
    text = show(revision.commit, file)
    return flatten((parse_yaml(text, f"{revision.name}:{file}") if text else None) or {})


def _word(value: str | None) -> str | None:
    return None if value is None else word(value)


def stages(base: dict[str, Facts], head: dict[str, Facts]) -> list[Stage]:
    """The stages of the head's dvc.lock, each with what makes it another than the base's."""
    made = {out["path"] for entry in head.values() for out in entry.get("outs", [])}
    return [Stage(name=word(name), why=_why(base.get(name), entry, made)) for name, entry in head.items()]


def _why(before: Facts | None, after: Facts, made: set[str]) -> list[Why]:
    if before is None:
        return ["new"]
    if locked_key(before) == locked_key(after):
        return []
    old, new = ({dep["path"]: dep["md5"] for dep in entry.get("deps", [])} for entry in (before, after))
    why = {_kind(path, made) for path in old | new if old.get(path) != new.get(path)}
    why |= {"command"} if before["cmd"] != after["cmd"] else set()
    why |= {"params"} if before.get("params") != after.get("params") else set()
    return sorted(why)


def _kind(path: str, made: set[str]) -> Why:
    if path == LOCK.as_posix():
        return "libraries"
    is_code = path.partition("/")[0] in CODE or path.endswith(".py")
    return "code" if is_code and path not in made else "data"


def data(base: Revision, head: Revision) -> Data:
    """What differs in the validated data; rows by id and hash where both sides have them, else the totals only."""
    before, after = _counts(base), _counts(head)
    return Data(
        changed=_rows_changed(base, head, _splits(before), _splits(after)),
        rows=Total(base=_rows(before), head=_rows(after)),
        quarantined=Total(base=before.get("validate/quarantined"), head=after.get("validate/quarantined")),
    )


def _counts(revision: Revision) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(revision.read(COUNTS))
    except InputError:
        return {}
    return found


def _splits(counts: dict[str, int]) -> dict[str, int]:
    found = ((re.fullmatch(r"validate/([^/]+)/rows", key), count) for key, count in counts.items())
    return {match[1]: count for match, count in found if match}


def _rows(counts: dict[str, int]) -> int | None:
    return sum(_splits(counts).values()) if counts else None


def _rows_changed(base: Revision, head: Revision, before: Iterable[str], after: Iterable[str]) -> Rows | None:
    if _hash(base) == _hash(head) is not None:
        return Rows(added=0, removed=0, targets_changed=0, inputs_changed=0, moved=0)
    if not (before and after):
        return None
    try:
        target = load(head.params()["task"]["name"], Score).TARGET
        tables = _table(base, before), _table(head, after)
        inputs = [
            name for name in tables[0].column_names if name not in (*OWN, target) and name in tables[1].schema.names
        ]
        numbered = not (_has_ids(base) and _has_ids(head))
        return difference(*(_by_key(table, target, inputs, numbered=numbered) for table in tables))
    except (InputError, ImportError, LookupError, TypeError, ValueError):
        return None


def _hash(revision: Revision) -> str | None:
    outs = (out for entry in revision.lock().values() for out in entry.get("outs", []))
    return next((out["md5"] for out in outs if out["path"] == VALIDATED.as_posix()), None)


def _has_ids(revision: Revision) -> bool:
    return "id" in revision.params().get("data", {}).get("columns", {})


def _table(revision: Revision, splits: Iterable[str]) -> pa.Table:
    """The validated rows of all splits, with a column `split`."""
    import pyarrow.parquet as pq

    tables = []
    for split in splits:
        table = pq.read_table(BytesIO(revision.read(VALIDATED / f"{split}.parquet")))
        tables.append(table.append_column("split", pa.array([split] * len(table), pa.string())))
    return pa.concat_tables(tables)


def _by_key(table: pa.Table, target: str, inputs: Sequence[str], *, numbered: bool) -> dict[Hashable, Row]:
    """Every row by its id, or by its inputs where ids are but numbers of rows; the inputs themselves are let go."""
    found: dict[Hashable, Row] = {}
    seen: Counter[str] = Counter()
    values = zip(*(table[name].to_pylist() for name in inputs), strict=True)
    keys = (table[name].to_pylist() for name in ("id", "split", target))
    for id_, split, truth, row in zip(*keys, values, strict=True):
        digest = fingerprint(row)
        found[(digest, seen[digest]) if numbered else id_] = (split, truth, digest)
        seen[digest] += 1
    return found


def difference(before: Mapping[Hashable, Row], after: Mapping[Hashable, Row]) -> Rows:
    """How many rows differ in what; one can have another target, other inputs and another split."""
    both = [(before[id_], after[id_]) for id_ in before.keys() & after.keys()]
    return Rows(
        added=len(after.keys() - before.keys()),
        removed=len(before.keys() - after.keys()),
        moved=sum(old[0] != new[0] for old, new in both),
        targets_changed=sum(old[1] != new[1] for old, new in both),
        inputs_changed=sum(old[2] != new[2] for old, new in both),
    )
