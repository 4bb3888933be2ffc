"""`bonafide serve`: the champion over HTTP, on this machine."""

import json
from typing import Annotated

import typer

from bonafide.project.console import printable


def serve(
    *,
    port: Annotated[int, typer.Option(min=1, max=65535, help="On 127.0.0.1.")] = 5001,
    as_json: Annotated[bool, typer.Option("--json", help="Say what is served for machines, on stdout.")] = False,
) -> None:
    """Check the champion's bytes, then run `mlflow models serve` on them."""
    from bonafide.params.load import load_params
    from bonafide.registry import server
    from bonafide.registry.champions import open_registry

    params = load_params()
    with open_registry(params.tracking.experiment, params.promote.model) as registry:
        folder, facts = server.prepare(registry)
    server.check_port(port)
    facts["url"] = f"http://{server.HOST}:{port}/invocations"
    shown = f"{facts['model']}: version {facts['version']} of commit {facts['commit']:.12}, at {facts['url']}"
    typer.echo(json.dumps(facts, sort_keys=True) if as_json else printable(shown))
    server.serve(folder, port)
