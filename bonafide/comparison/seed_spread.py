"""The same experiment under other seeds: DVC experiments, and the commits they started from, that differ by `seed`."""

import json
import re
import statistics
from typing import Any

from bonafide.project import git
from bonafide.project.errors import InputError
from bonafide.project.paths import PARAMS, REPORTS, VALIDATED
from bonafide.provenance.revisions import JUDGED, Revision, show

Facts = dict[str, Any]

METRICS = REPORTS / f"{JUDGED}.json"
REFERENCE = r"^([0-9a-f]{40}) refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)$"  # DVC files them under their baseline
SHAPELESS = ("seed", "report", "compare", "tracking")  # sections that shape no prediction, and the seed


def spread(revision: Revision, metric: str) -> tuple[int, float | None]:
    """Seeds there are of a revision, itself among them, and the standard deviation of a metric (`test/f1_macro`).

    A seed that also cut other splits is left out: its rows are another difference. None where there is one seed.
    """
    own = recipe(revision.lock())
    values = {own["seed"]: value(revision, metric)} if own else {}
    for other in experiments() if own else []:
        if settings(other) != settings(revision):
            continue
        found = recipe(other.lock())
        if found and found | {"seed": 0} == own | {"seed": 0}:
            values.setdefault(found["seed"], value(other, metric))
    known = [x for x in values.values() if x is not None]
    return max(1, len(known)), statistics.stdev(known) if len(known) > 1 else None


def experiments() -> list[Revision]:
    """The DVC experiments here and the commits that they started from, each commit once."""
    shown = git.ask("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
    found: dict[str, str] = {}
    for commit, first, rest, name in re.findall(REFERENCE, shown, re.MULTILINE):
        found |= {first + rest: first + rest, commit: name}
    return [Revision(name, commit) for commit, name in found.items()]


def settings(revision: Revision) -> Facts:
    """Its params that shape predictions, but for the seed: a quick look before its dvc.lock is read."""
    try:
        return {name: section for name, section in revision.params().items() if name not in SHAPELESS}
    except InputError:
        return {}


def recipe(lock: Facts) -> Facts:
    """What the judged stage follows from, by a dvc.lock: commands, params, sources; its `seed`; the validated bytes.

    Nothing where that stage was not run.
    """
    makers = {out["path"]: name for name, entry in lock.items() for out in entry.get("outs", [])}
    todo, stages = [JUDGED] if JUDGED in lock else [], {}
    while todo:
        entry = lock[name := todo.pop()]
        deps = {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}
        todo += [makers[path] for path in deps if path in makers and makers[path] not in stages]
        params = entry.get("params", {}).get(str(PARAMS), {})
        sources = {path: md5 for path, md5 in deps.items() if path not in makers or path == str(VALIDATED)}
        stages[name] = [entry["cmd"], sources, {key: x for key, x in params.items() if key != "seed"}]
    seed = lock.get(JUDGED, {}).get("params", {}).get(str(PARAMS), {}).get("seed")
    return {"stages": stages, "seed": seed} if stages else {}


def value(revision: Revision, metric: str) -> float | None:
    """A metric of its evaluate.json, or None where that is not in git."""
    text = show(revision.commit, METRICS)
    found = json.loads(text).get(metric) if text else None
    return float(found) if found is not None else None
