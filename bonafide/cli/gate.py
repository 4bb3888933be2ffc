"""Answer whether a pull request may go on, from its review."""

from pathlib import Path
from typing import Annotated

import typer

from bonafide.project.errors import NO

REVIEW = Path(".bonafide/review/review.json")


def gate(
    review: Annotated[Path | None, typer.Argument(help=f"A review.json; the project's is {REVIEW}.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the gate as JSON.")] = False,
) -> None:
    """Exit 0 if the gate of REVIEW passes, 1 if not, and say why."""
    from bonafide.project.console import printable
    from bonafide.review.schema import parse

    here = Path.cwd()
    left = (folder / REVIEW for folder in (here, *here.parents) if (folder / REVIEW).is_file())
    found = parse((review or next(left, REVIEW)).read_bytes())
    if json:
        typer.echo(found.gate.model_dump_json())
    else:
        typer.echo("the gate passes" if found.gate.passed else "the gate fails")
        for reason in found.gate.reasons:
            typer.echo(f"  {printable(reason)}".replace("::", ": :"))
    if not found.gate.passed:
        raise typer.Exit(NO)
