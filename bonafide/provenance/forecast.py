"""What `dvc repro` would do, and why: for each stage the changes that DVC sees, and where its outputs would come from.

`dvc repro --dry` does not say it: it looks into the run-cache with the old inputs, so a change that was never run is
called cached (3.67), and a stage whose inputs another would restore is called unchanged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from bonafide.project.dvc_lock import GRAPH
from bonafide.project.environment import flatten
from bonafide.project.errors import InputError
from bonafide.project.paths import LOCK

SKIP, RESTORE, RUN, PERHAPS, FAIL = "skip", "restore", "run", "perhaps", "fail"
CODE = ("bonafide", "stages")
FIRST, OUTPUT, UPSTREAM = "first run", "output", "upstream"
Made = dict[str, tuple[str, Any]]  # path of an output to its stage, and DVC's view of it, None before a run tells


@dataclass(frozen=True)
class Reason:
    """One thing that differs from what dvc.lock was made of."""

    kind: str
    """code, data, parameter, environment, command, output, upstream, or "first run"."""
    what: str
    """Path, dotted parameter, command, or stage."""
    state: str
    """As DVC says it (modified, new, deleted, not in cache), or the stage that an input comes from."""
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class Step:
    """What `dvc repro` would do with one stage."""

    stage: str
    does: str
    """skip, restore (from DVC's cache), run, perhaps (if what it reads comes out differently), or fail."""
    reasons: list[Reason] = field(default_factory=list)


@contextmanager
def opened() -> Iterator[Any]:
    """DVC's repository of this folder, in which no stage starts meanwhile.

    Raise InputError where it is none, or broken, and OSError while another DVC writes in it.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError, rwlock

    try:
        with Repo() as repo, rwlock(repo.tmp_dir, repo.fs, "bonafide", [str(Path.cwd())], [], hardlink=False):
            yield repo
    except LockError as error:
        raise OSError(f"DVC is at work here: {str(error).splitlines()[0]}") from None
    except (RWLockFileCorruptedError, RWLockFileFormatError):
        raise OSError(".dvc/tmp/rwlock: is broken, so that no DVC command runs; delete it") from None
    except DvcException as error:
        raise InputError(" ".join(str(error).split())) from None


def forecast() -> list[Step]:
    """What `dvc repro` would do with each stage, in its order. Nothing is run, restored or written.

    Raise InputError where DVC cannot read the project, OSError while a stage is running.
    """
    with opened() as repo:
        return steps(repo)


def steps(repo: Any) -> list[Step]:
    """The forecast in a repository that is `opened`."""
    made: Made = {}
    return [_step(stage, made) for stage in _stages(repo)]


def _stages(repo: Any) -> list[Any]:
    from dvc.repo.reproduce import get_active_graph, plan_repro

    own = [stage for stage in repo.index.stages if Path(stage.path) == GRAPH.resolve()]  # a repository may have others
    return [stage for stage in plan_repro(get_active_graph(repo.index.graph), own) if stage.cmd]


def _step(stage: Any, made: Made) -> Step:
    """Decide one stage, and enter into `made` what it would leave for those after it."""
    inputs = list(_changed_inputs(stage, made))
    reasons = inputs or list(_changed_outputs(stage))
    if not reasons:
        return Step(stage.addressing, SKIP)
    kinds = {reason.kind for reason in reasons}
    fails = any(reason.state == "deleted" and reason.kind not in (OUTPUT, "parameter") for reason in reasons)
    outs = None if fails or UPSTREAM in kinds else _cached(stage, made, anew=bool(inputs))
    made.update({out.fs_path: (stage.addressing, (outs or {}).get(out.fs_path)) for out in stage.outs})
    does = FAIL if fails else RESTORE if outs else PERHAPS if kinds == {UPSTREAM} else RUN
    return Step(stage.addressing, does, reasons)


def _changed_inputs(stage: Any, made: Made) -> Iterator[Reason]:
    if not any(dep.hash_info for dep in stage.deps):
        yield Reason(FIRST, stage.addressing, "new")
        return
    if stage.changed_stage():
        yield Reason("command", stage.cmd, "modified")
    for dep in stage.deps:
        maker, out = _maker(dep, made)
        if maker is None:
            yield from _changes(dep)
        elif out is None:
            yield Reason(UPSTREAM, str(dep), f"from {maker}")
        elif _arriving(dep, out) != dep.hash_info:
            yield Reason("data", str(dep), f"from {maker}")


def _maker(dep: Any, made: Made) -> tuple[str | None, Any]:
    """The stage and the output in `made` that `dep` is or lies in."""
    found = (made[path] for path in made if PurePath(dep.fs_path).is_relative_to(path))
    return next(found, (None, None))


def _arriving(dep: Any, out: Any) -> Any:
    """The hash that `dep` will have once `out` is restored."""
    found = out.get_obj(filter_info=dep.fs_path)
    return found.hash_info if found else None


def _changes(dep: Any) -> Iterator[Reason]:
    for name, state in dep.status().items():
        if isinstance(state, dict):
            yield from _changed_params(dep)
        else:
            yield Reason(kind_of(name), name, state if dep.hash_info else "new")  # DVC says modified


def kind_of(path: str) -> str:
    """What an input is: environment, code or data."""
    if path == str(LOCK):
        return "environment"
    return "code" if PurePath(path).parts[0] in CODE or path.endswith(".py") else "data"


def _changed_params(dep: Any) -> Iterator[Reason]:
    before, after = flatten(dep.hash_info.value), flatten(dep.read_params())
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old != new:
            yield Reason("parameter", key, "new" if old is None else "deleted" if new is None else "modified", old, new)


def _changed_outputs(stage: Any) -> Iterator[Reason]:
    for out in stage.outs:
        for name, state in out.status().items():
            if state != "new":  # of a stage that has never run
                yield Reason(OUTPUT, name, state)


def _cached(stage: Any, made: Made, *, anew: bool) -> dict[str, Any] | None:
    """Its outputs by path, if DVC's cache holds all of them: as locked, or with new inputs as the run-cache has them.

    DVC has no question for it that leaves the workspace alone: `restore` looks up the old inputs where `dry` is set.
    """
    from dvc.stage.serialize import to_single_stage_lockfile

    runs = stage.repo.stage_cache
    if anew:
        _take_new_inputs(stage, made)
    entry = runs._load(stage) if anew else to_single_stage_lockfile(stage)  # noqa: SLF001
    if not entry:
        return None
    stored = runs._create_stage(entry, wdir=stage.wdir)  # noqa: SLF001
    return {out.fs_path: out for out in stored.outs} if stored.outs_cached() else None


def _take_new_inputs(stage: Any, made: Made) -> None:
    """Let DVC's view of the stage, in memory, have the inputs that a run would find."""
    from dvc_data.hashfile.meta import Meta

    for dep in stage.deps:
        _stage, out = _maker(dep, made)
        if out is None:
            dep.save()
        else:
            dep.hash_info, dep.meta = _arriving(dep, out), Meta()
