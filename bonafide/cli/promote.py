"""`bonafide promote`: a run's model becomes the champion, if the gate holds."""

import json
from typing import Annotated, Any

import typer

from bonafide.project.console import printable
from bonafide.project.errors import NO


def promote(
    run: Annotated[str, typer.Argument(help="An MLflow run, a DVC experiment, or a commit, branch or tag.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the gate says; it is recorded.")] = False,
    reason: Annotated[str, typer.Option(help="Why --force; recorded, too.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines, on stdout.")] = False,
) -> None:
    """Register a run's model in MLflow and make it the champion, if the gate of params.yaml (promote) holds."""
    if force != bool(reason.strip()):
        raise typer.BadParameter("--force and --reason go together")
    from bonafide.params.load import load_params
    from bonafide.registry.champions import open_registry
    from bonafide.registry.promotion import promote as act

    params = load_params()
    with open_registry(params.tracking.experiment, params.promote.model) as registry:
        facts = act(run, params, registry, reason.strip())
    typer.echo(json.dumps(facts, indent=2, sort_keys=True) if as_json else in_words(facts))
    if not facts["promoted"]:
        raise typer.Exit(NO)


def in_words(facts: dict[str, Any]) -> str:
    """What came of it, for a person; a reason a line."""
    reasons = facts.get("reasons", [])
    if facts["promoted"]:
        lines = [f"{facts['model']}: version {facts['version']} is the champion"]
        lines += [f"  verdict   {facts['verdict']}"] if facts["verdict"] else []
        lines += [f"  before    version {facts['previous']}"] if facts.get("previous") else []
        lines += [f"  forced    {facts['forced']}"] if facts.get("forced") else []
        lines += [f"  {name:9} {value}" for name, value in facts.get("metrics", {}).items()]
        lines += [f"  despite   {reason}" for reason in reasons]
    else:
        lines = [f"{facts['model']}: {facts['revision']} is not promoted", *(f"  {reason}" for reason in reasons)]
    return "\n".join(printable(line.replace("\n", " ")) for line in lines)
