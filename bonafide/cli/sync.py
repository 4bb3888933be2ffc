"""`bonafide sync`: bring MLflow up to date."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from bonafide.project.console import printable
from bonafide.project.errors import NO


def sync(
    revisions: Annotated[
        list[str] | None, typer.Argument(help="Commits, branches, tags or DVC experiments; none: the workspace.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every commit that changed dvc.lock.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Deliver what MLflow missed, and fill in finished runs that it has never seen; twice changes nothing.

    Exit with 1 where a revision cannot be filled in or a record still waits.
    """
    from bonafide.provenance.backfill import all_revisions, synchronize
    from bonafide.provenance.revisions import resolve, workspace

    wanted = [resolve(name) for name in revisions or []]
    answer = synchronize(all_revisions() if everything else wanted or [workspace()])
    print(json.dumps(asdict(answer)) if as_json else "\n".join(_lines(asdict(answer))))
    if answer.refused or answer.waiting:
        raise typer.Exit(NO)


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    yield f"delivered      {answer['delivered']} of what MLflow had missed, {answer['waiting']} still wait"
    yield f"filled in      {printable(', '.join(answer['filled'])) or 'none'}"
    yield f"already there  {printable(', '.join(answer['there'])) or 'none'}"
    for name, reason in answer["refused"].items():
        yield f"not filled in  {printable(name)}: {printable(reason)}"
