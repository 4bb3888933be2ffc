"""Whether a workspace is what dvc.lock says: outputs and cache, inputs, parameters, libraries, the lock itself."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bonafide.project.dvc_lock import GRAPH_LOCK, Facts
from bonafide.project.errors import InputError
from bonafide.project.files import md5
from bonafide.project.paths import LOCK
from bonafide.project.yaml_files import parse_yaml
from bonafide.provenance import forecast
from bonafide.provenance.hashes import ALTERED, MISSING, Advance, Out, Problem, check, size
from bonafide.provenance.libraries import differences
from bonafide.provenance.revisions import show

STALE = "out of step"  # an input is no longer what dvc.lock was made of
LIBRARY = "other library"  # what is installed is not what requirements.lock says
PROJECT = Path("pyproject.toml")


@dataclass
class Audit:
    """All that was looked at, and what of it is not as recorded."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is no problem, but to be known."""
    files: int = 0
    """Read and hashed, cache objects included."""
    bytes: int = 0

    @property
    def verdict(self) -> str:
        """altered: something is not as recorded; incomplete: something is not here; sound: all is, byte for byte."""
        kinds = {problem.kind for problem in self.problems}
        if kinds & {ALTERED, STALE}:
            return "altered"
        return "incomplete" if kinds & {MISSING, LIBRARY} else "sound"


def audit(advance: Advance = lambda _done, _all: None) -> Audit:
    """Read everything that dvc.lock names and say what is not as it says; `advance` is told how far that is.

    Raise InputError where this is no project that DVC can read, OSError while DVC writes in it.
    """
    text = show("", GRAPH_LOCK)
    if text is None:
        return Audit([Problem(MISSING, str(GRAPH_LOCK), note=f"try: git checkout {GRAPH_LOCK}, or dvc repro")])
    try:
        stages = read_stages(text)
    except InputError as error:
        return Audit([Problem(ALTERED, str(GRAPH_LOCK), note=f"{error}; try: git checkout {GRAPH_LOCK}")])
    found = Audit()
    committed = _committed()
    with forecast.opened() as repo:
        outs = list(_outs(stages, repo))
        problems, hashes = check(outs, repo.dvcignore.is_ignored_file, advance)
        found.files, found.bytes = len(hashes), sum(map(size, hashes))
        found.problems += [*_lost(stages, committed, repo), *_blame(problems, outs, hashes, committed)]
        found.problems += [*_inputs(stages), *_step(forecast.steps(repo))]
    found.problems += _libraries()
    found.notes += _notes(stages, committed)
    return found


def read_stages(text: str) -> dict[str, Facts]:
    """The entries of a dvc.lock; raise InputError where one is not as DVC writes it."""
    content = parse_yaml(text, str(GRAPH_LOCK))
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise InputError("it has no stages")
    stages: dict[str, Facts] = content["stages"]
    for stage, entry in stages.items():
        whole = isinstance(entry, dict) and isinstance(entry.get("cmd"), str)
        rows = [row for key in ("deps", "outs") for row in entry.get(key) or []] if whole else []
        if not whole or not all(map(_is_whole, rows)):
            raise InputError(f"its entry of {stage} is not whole")
    return stages


def _is_whole(row: Any) -> bool:
    """Whether one dependency or output is as DVC reads it."""
    texts = isinstance(row, dict) and all(isinstance(row.get(key), str) for key in ("path", "md5"))
    return texts and all(isinstance(row.get(key, 0), int) for key in ("size", "nfiles"))


def _committed() -> dict[str, Facts] | None:
    """The entries of the last commit's dvc.lock; None where it has none that can be read."""
    try:
        text = show("HEAD", GRAPH_LOCK)
        return None if text is None else read_stages(text)
    except InputError:
        return None


def _outs(stages: dict[str, Facts], repo: Any) -> Iterator[Out]:
    kept = {str(out): out.use_cache for stage in repo.index.stages for out in stage.outs}
    for stage, entry in stages.items():
        for out in entry.get("outs", []):
            path = out["path"]
            yield Out(Path(path), out["md5"], stage, kept.get(path, True), Path(repo.cache.local.path))


def _lost(stages: dict[str, Facts], committed: dict[str, Facts] | None, repo: Any) -> Iterator[Problem]:
    """What dvc.lock should say and does not."""
    for stage in sorted((committed or {}).keys() - stages.keys()):
        yield Problem(ALTERED, str(GRAPH_LOCK), stage, note="its entry is lost, which the last commit has")
    for stage in repo.index.stages:
        recorded = {out["path"] for out in stages.get(stage.addressing, {}).get("outs", [])}
        for out in sorted({str(out) for out in stage.outs} - recorded if stage.addressing in stages else ()):
            yield Problem(STALE, str(GRAPH_LOCK), stage.addressing, note=f"has nothing on {out}")


def _blame(
    problems: list[Problem], outs: list[Out], hashes: dict[Path, str], committed: dict[str, Facts] | None
) -> Iterator[Problem]:
    """`problems`, but of dvc.lock where an output is as the last commit records it."""
    before = {out["path"]: out["md5"] for entry in (committed or {}).values() for out in entry.get("outs", [])}
    cleared = {out for out in outs if hashes.get(out.path) == before.get(out.path.as_posix(), "") != out.md5}
    for out in cleared:
        note = f"says md5 {out.md5} of {out.path.as_posix()}, which is as the last commit records it"
        yield Problem(ALTERED, str(GRAPH_LOCK), out.stage, note=note)
    whole = {out.path.as_posix() for out in cleared}
    yield from (problem for problem in problems if problem.path not in whole)


def _inputs(stages: dict[str, Facts]) -> Iterator[Problem]:
    """Inputs that no stage makes; DVC itself would not look into one whose size and time are as before."""
    made = [Path(out["path"]) for entry in stages.values() for out in entry.get("outs", [])]
    digests: dict[str, str] = {}
    for stage, entry in stages.items():
        for dep in entry.get("deps", []):
            path = Path(dep["path"])
            if any(path.is_relative_to(out) for out in made):
                continue
            if not path.exists():
                yield Problem(MISSING, dep["path"], stage, note="an input; try: git checkout, or dvc pull")
            elif digests.setdefault(dep["path"], md5(path)) != dep["md5"]:
                yield Problem(STALE, dep["path"], stage, note=f"the {forecast.kind_of(dep['path'])} was changed since")


def _step(steps: list[forecast.Step]) -> Iterator[Problem]:
    """What `_inputs` cannot see: parameters, commands, stages and inputs that dvc.lock does not have."""
    for step in steps:
        for reason in step.reasons:
            if reason.kind == "parameter":
                yield Problem(STALE, reason.what, step.stage, note=f"was {reason.before}, is {reason.after}")
            elif reason.kind in (forecast.FIRST, "command") or reason.state == "new":
                yield Problem(STALE, reason.what, step.stage, note=f"is not in {GRAPH_LOCK}")


def _libraries() -> Iterator[Problem]:
    lock, project = show("", LOCK), show("", PROJECT)
    if lock is None or project is None:
        return
    for name, (locked, installed) in differences(lock, project).items():
        yield Problem(LIBRARY, name, note=f"locked is {locked}, installed is {installed}; try: make setup")


def _notes(stages: dict[str, Facts], committed: dict[str, Facts] | None) -> Iterator[str]:
    if committed is None:
        yield f"{GRAPH_LOCK} is not committed: nothing but the files themselves vouches for it."
        return
    changed = [stage for stage, entry in stages.items() if committed.get(stage) != entry]
    if changed:
        yield f"{GRAPH_LOCK} was changed since the last commit: {', '.join(changed)}."
