"""`bonafide sweep`: seeds and grids, or a search, as DVC experiments side by side."""

import json
import signal
import sys
from typing import Annotated, Any

import typer

from bonafide.project.console import printable, say
from bonafide.project.errors import NO

Facts = dict[str, Any]


def sweep(
    *,
    settings: Annotated[
        list[str] | None, typer.Option("--set-param", "-S", help="key=a,b,c (Hydra's grammar); may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds for each combination, from params.yaml's on.")] = 1,
    jobs: Annotated[
        int, typer.Option(min=1, help="At most so many at once; never more than have cores or a GPU of their own.")
    ] = 1000,
    search: Annotated[
        int, typer.Option(min=0, help="Let optuna propose so many combinations, of -S key=interval(a,b) and lists.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Run every combination with every seed; show mean and spread, and the best by validation.

    What is committed is run, in clones: go on working. The same command again goes on where it was stopped. Each
    experiment has `threads` cores to itself, or a GPU for each of machine.processes: threads shape the last bits.

    Exit with 1 where a trial failed.
    """
    from bonafide.sweeps.sweep import Sweep, Wanted

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    facts = Sweep(Wanted(settings or [], seeds, jobs, search), say).run()
    if as_json:
        print(json.dumps(facts, indent=2, sort_keys=True, allow_nan=False))
    else:
        show(facts)
    if any(trial["status"] != "finished" for trial in facts["trials"]):
        raise typer.Exit(NO)


def _end(number: int, _frame: Any) -> None:
    sys.exit(128 + number)


def show(facts: Facts) -> None:
    """Print it for a person."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from bonafide.sweeps.mlflow_run import numbers

    console, best = Console(highlight=False), facts["best"]
    table = Table(
        Column("params", overflow="fold"),
        "seeds",
        f"mean {facts['metric']}",
        "sd",
        "95 % of the mean",
        title=f"sweep {facts['sweep']}",
    )
    for row in facts["grid"]:
        cells = [" ".join(row["params"]) or "as committed", *numbers(row)]
        chosen = best is not None and row["params"] == best["params"]
        table.add_row(*(Text(printable(cell)) for cell in cells), style="bold" if chosen else "")
    console.print(table)
    if best is None:
        console.print("No combination is complete, so none is the best.")
        return
    console.print(Text(printable(f"best by validation: {' '.join(best['params']) or 'as committed'}"), "bold"))
    for key, value in best["test"].items():
        if key.count("/") == 1 and key.endswith(facts["metric"].partition("/")[2]):
            mean = f"{value['mean']:.4f}" + ("" if value["sd"] is None else f", sd {value['sd']:.4f}")
            console.print(Text(printable(f"  {key} {mean}")))
    console.print(Text(f"  dvc exp apply {best['experiments'][0]}"))
