"""`bonafide plan`: what `dvc repro` would do, why, and what it would cost."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from bonafide.project.console import printable

SHOWN = 5  # changes of one kind that a person is shown
COSTS = {"seconds": "time", "joules": "energy", "bytes": "size"}
MEANING = {
    "skip": "nothing",
    "restore": "restored from the cache",
    "run": "runs",
    "perhaps": "runs if its inputs change",
    "fail": "fails",
}


def plan(*, as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """Say what `dvc repro` would run and why, with the time, energy and disk that past runs took. Nothing is run."""
    facts = _facts()
    if as_json:
        print(json.dumps(facts))
    else:
        _show(facts)


def _facts() -> dict[str, Any]:
    from bonafide.project.dvc_lock import read_lock
    from bonafide.provenance.forecast import PERHAPS, RUN, forecast
    from bonafide.provenance.stage_costs import past_runs

    steps = [asdict(step) for step in forecast()]
    past = past_runs([step["stage"] for step in steps if step["does"] in (RUN, PERHAPS)])
    lock = read_lock()
    for step in steps:
        known = past.get(step["stage"])
        outs = lock.get(step["stage"], {}).get("outs", [])
        step["seconds"] = known.expected if known else None
        step["runs"] = len(known.seconds) if known else 0
        step["joules"] = known.joules if known else None
        step["bytes"] = sum(out.get("size", 0) for out in outs) or None
    return {"stages": steps, "free_bytes": shutil.disk_usage(".").free}


def _show(facts: dict[str, Any]) -> None:
    from bonafide.provenance.forecast import PERHAPS, RUN

    for step in facts["stages"]:
        costs = f"  {_costs(step)}" if step["does"] in (RUN, PERHAPS) else ""
        print(printable(f"{step['stage']:<12}{MEANING[step['does']]}{costs}"))
        for line in _reasons(step["reasons"]):
            print(f"    {printable(' '.join(line.splitlines()))}")
    print("\n".join(_summary(facts)))


def _costs(step: dict[str, Any]) -> str:
    from bonafide.monitoring.progress import duration

    runs = f"{step['runs']} past run{'s' * (step['runs'] > 1)}"
    forms = {"seconds": lambda s: f"{duration(s)} in {runs}", "joules": lambda j: f"{j:,.0f} J", "bytes": _size}
    known = [form(step[key]) for key, form in forms.items() if step[key] is not None]
    unknown = [name for key, name in COSTS.items() if step[key] is None]
    return ", ".join(known + [f"{' and '.join(unknown)} unknown"] * bool(unknown))


def _size(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _reasons(reasons: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each kind; a parameter or a command has one of its own."""
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        if reason["kind"] == "parameter":
            change = f"{reason['before']} → {reason['after']}" if reason["state"] == "modified" else reason["state"]
            yield f"parameter {reason['what']}: {change}"
        else:
            state = "" if reason["state"] == "modified" else f" ({reason['state']})"
            kinds.setdefault(reason["kind"], []).append(reason["what"] + state)
    for kind, named in kinds.items():
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        yield f"{kind} {', '.join(named[:SHOWN])}{more}"


def _summary(facts: dict[str, Any]) -> Iterator[str]:
    from bonafide.monitoring.progress import duration
    from bonafide.provenance.forecast import FAIL, PERHAPS, RUN

    active = [step for step in facts["stages"] if step["does"] in (RUN, PERHAPS)]
    known = [step["seconds"] for step in active if step["seconds"] is not None]
    unknown = [step["stage"] for step in active if step["seconds"] is None]
    if any(step["does"] == FAIL for step in facts["stages"]):
        yield "dvc repro would fail: an input is not there."
    elif not active:
        yield "Nothing would run."
    else:
        yield f"Time: {f'{duration(sum(known))}, as past runs took' if known else 'unknown'}."
        if known and unknown:
            yield f"How long {', '.join(unknown)} takes is unknown."
        sizes = sum(step["bytes"] or 0 for step in active)
        yield f"Disk: {_size(sizes)}, if outputs are as large as the last; {_size(facts['free_bytes'])} are free."
