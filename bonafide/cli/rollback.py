"""`bonafide rollback`: the champion before this one is the champion again."""

import json
from typing import Annotated

import typer

from bonafide.project.console import printable


def rollback(
    *,
    reason: Annotated[str, typer.Option(help="Why; recorded on the version that leaves.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines, on stdout.")] = False,
) -> None:
    """Give the alias back to the champion before this one."""
    from bonafide.params.load import load_params
    from bonafide.registry.champions import open_registry
    from bonafide.registry.champions import rollback as act

    params = load_params()
    with open_registry(params.tracking.experiment, params.promote.model) as registry:
        facts = act(registry, reason.strip())
    shown = f"{facts['model']}: version {facts['version']} is the champion again, version {facts['left']} no longer"
    typer.echo(json.dumps(facts, indent=2, sort_keys=True) if as_json else printable(shown))
