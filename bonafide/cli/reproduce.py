"""`bonafide reproduce`: whether a revision's code, run again from nothing, gives its bytes."""

import json
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bonafide.project.console import printable, say
from bonafide.project.errors import NO, InputError

if TYPE_CHECKING:
    from bonafide.provenance.reproduction import Clone, Outcome
    from bonafide.provenance.revisions import Revision

SHOWN = 20  # files that a person is shown


def reproduce(
    revision: Annotated[str, typer.Argument(help="A commit, branch, tag, DVC experiment or MLflow run.")] = "HEAD",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Run a revision again in a clean clone and compare every stage's bytes with its dvc.lock.

    Exit with 0 where all are identical, with 1 where a stage differs or fails; its folder is then kept. This runs the
    code of that revision. Changes that are not committed are not part of it.
    """
    from bonafide.provenance.revisions import resolve

    found = resolve(revision)
    if not found.commit:
        raise InputError(f"{revision}: its dvc.lock is not committed; commit it first")
    if not found.lock():
        raise InputError(f"{revision}: has no dvc.lock to compare with")
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # so that the folder goes
    base, facts = Path(tempfile.mkdtemp(prefix="bonafide-reproduce-")), {"identical": True}
    try:
        facts = _reproduce(found, base)
    finally:
        if facts["identical"]:
            shutil.rmtree(base)
    print(json.dumps(facts) if as_json else printable(_verdict(facts)))
    if not facts["identical"]:
        raise typer.Exit(NO)


def _reproduce(revision: "Revision", base: Path) -> dict[str, Any]:
    from bonafide.provenance import forecast, reproduction

    say(f"cloning {revision.name} ({revision.commit[:7]})")
    made = reproduction.clone(revision, base)
    missing = reproduction.libraries(made)
    if missing:
        names = ", ".join(f"{name} {locked} (here {here})" for name, (locked, here) in missing.items())
        say(f"installing its libraries, which takes minutes: {names}")
        made = reproduction.install(made)
    with forecast.opened() as repo:
        cache = Path(repo.cache.legacy.path)
    outcomes = []
    for outcome in reproduction.reproduce(made, cache, _begin):
        _end(outcome)
        outcomes.append(outcome)
    return _facts(revision, made, outcomes) | {"installed": missing}


def _begin(stage: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{stage:<10} runs", end="", file=sys.stderr, flush=True)


def _end(outcome: "Outcome") -> None:
    from bonafide.monitoring.progress import duration

    start = "\r" if sys.stderr.isatty() else ""
    print(start, end="", file=sys.stderr)
    say(f"{outcome.stage:<10} {outcome.result:<10} {duration(outcome.seconds)}")


def _facts(revision: "Revision", made: "Clone", outcomes: list["Outcome"]) -> dict[str, Any]:
    from bonafide.project.dvc_lock import locked_key
    from bonafide.provenance.environments import environment_of, explain
    from bonafide.provenance.reproduction import FROM_CACHE, IDENTICAL
    from bonafide.tracking.store import tracking_uri

    last = outcomes[-1]
    identical = last.result in (FROM_CACHE, IDENTICAL)
    facts = {"revision": revision.name, "commit": revision.commit, "stages": [asdict(outcome) for outcome in outcomes]}
    if identical:
        return facts | {"identical": True, "environment": "", "folder": ""}
    before = environment_of(tracking_uri(), "bonafide.stage_key", locked_key(revision.lock()[last.stage]))
    now = environment_of(f"sqlite:///{made.store}", "bonafide.stage", last.stage)
    return facts | {"identical": False, "environment": explain(before, now), "folder": str(made.base)}


def _verdict(facts: dict[str, Any]) -> str:
    last = facts["stages"][-1]
    called = f"{facts['revision']} ({facts['commit'][:7]})"
    stale: dict[str, list[str]] = {}
    for stage in facts["stages"]:
        for name in stage["inputs"]:
            stale.setdefault(name, []).append(stage["stage"])
    named = ", ".join(f"{name} ({', '.join(stages)})" for name, stages in stale.items())
    lines = [f"Its dvc.lock was made with another version of {named} than the commit has."] if named else []
    if facts["identical"]:
        given = [stage["stage"] for stage in facts["stages"] if stage["result"] == "from cache"]
        lines += (
            [f"{', '.join(given)} was not run: its bytes are in the cache, and their hashes are right."]
            if given
            else []
        )
        return "\n".join([*lines, f"Identical: every stage of {called} gives the bytes that its dvc.lock says."])
    files = [f"  {path}: {note}" if path else f"  {note}" for path, note in list(last["files"].items())[:SHOWN]]
    files += [f"  and {len(last['files']) - SHOWN} more"] if len(last["files"]) > SHOWN else []
    first = {
        "failed": f"Failed: {last['stage']} does not run",
        "different": f"Different: {last['stage']} is the first stage to differ",
    }
    head = f"{first[last['result']]} in a clean clone of {called}:"
    kept = f"The clone and what it printed are kept in {facts['folder']}."
    return "\n".join(" ".join(line.splitlines()) for line in [head, *files, *lines, facts["environment"], kept])
