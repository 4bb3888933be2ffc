"""bonafide compare: whether one revision's model is better than another's, and whether that can be trusted."""

import json
from typing import Annotated, Any

import typer

from bonafide.project.errors import NO

Facts = dict[str, Any]


def compare(
    base: Annotated[str, typer.Argument(help="a commit, branch, tag, DVC experiment or MLflow run")],
    head: Annotated[str, typer.Argument(help="the same; the workspace where it is left out")] = "",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="everything, for programs")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="for a pull request")] = False,
) -> None:
    """Compare two models on the rows that both have predicted; exit with 1 where the gate of params.yaml fails."""
    from bonafide.comparison.compare import compare as compare_revisions
    from bonafide.comparison.markdown_table import render
    from bonafide.params.load import load_params
    from bonafide.provenance.revisions import resolve, workspace

    facts = compare_revisions(resolve(base), resolve(head) if head else workspace(), load_params().compare)
    if as_json:
        print(json.dumps(facts, indent=2, sort_keys=True, allow_nan=False))
    elif as_markdown:
        print(render(facts), end="")
    else:
        show(facts)
    if not facts["gate"]["passed"]:
        raise typer.Exit(NO)


def show(facts: Facts) -> None:
    """Print it for a person."""
    from rich.console import Console
    from rich.text import Text

    from bonafide.project.console import printable

    console = Console(highlight=False)

    def say(text: str, style: str = "") -> None:
        console.print(Text(printable(text), style))

    rows = f"{facts['rows']['common']:,} rows in {facts['groups']:,} groups"
    say(f"base {facts['base']['name']}, head {facts['head']['name']}: {rows}")
    say(facts["verdict"]["sentence"], "bold")
    console.print(table(facts, "metrics"))
    if facts["slices"]:
        console.print(table(facts, "slices"))
    for note in facts["notes"]:
        say(note)
    say("The gate passes." if facts["gate"]["passed"] else "The gate fails:", "bold")
    for reason in facts["gate"]["reasons"]:
        say(f"- {reason}")


def table(facts: Facts, kind: str) -> Any:
    """The metrics, or the slices with their p-values adjusted, in 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table
    from rich.text import Text

    from bonafide.comparison.wording import largest
    from bonafide.project.console import printable
    from bonafide.project.numbers import count, score, signed

    whole = kind == "metrics"
    level = f"difference ({100 * (1 - facts['verdict']['alpha']):g}%)" if whole else "difference"
    titles = [*(["metric"] if whole else ["slice", "rows"]), "base", "head", level, "p", "outcome"]
    columns = (Column(title, no_wrap=title not in ("slice", "metric")) for title in titles)
    made = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in facts[kind]:
        called = [row["words"]] if whole else [f"{row['column']} {row['value']}", count(row["rows"])]
        moved, low, high = (signed(row[key], largest(row)) for key in ("difference", "low", "high"))
        difference = f"{moved} ({low}, {high})" if whole else moved
        p_value = f"{row.get('adjusted', row['p_value']):.2g}"
        sides = [score(row[key], largest(row)) for key in ("base", "head")]
        cells = [*called, *sides, difference, p_value, row["outcome"]]
        made.add_row(*(Text(printable(cell)) for cell in cells))
    return made
