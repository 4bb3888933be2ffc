"""Review a pull request: what HEAD changes against its base branch, as data, as a comment and for a gate."""

from pathlib import Path
from typing import Annotated

import typer

from bonafide.files import write_bytes, write_text
from lab import workflow

SMOKE = Path("recipes/smoke.yaml")


def review(
    branch: Annotated[str, typer.Argument(envvar="BASE", help="The base branch, or any revision.")],
    recipe: Annotated[Path, typer.Option(envvar="RECIPE", help="What to run where dvc.lock is not in step.")] = SMOKE,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print review.json instead of the comment.")] = False,
) -> None:
    """Say what HEAD changes against BRANCH: the verdict, metrics, slices, params, data and stages.

    Where dvc.lock is in step and both sides' predictions are at hand, nothing is run; else both sides run RECIPE.
    Leaves .bonafide/review/review.json, comment.md and index.html; `bonafide gate` turns it into an exit code.
    """
    from lab.comment import Place, markdown
    from lab.review import FOLDER
    from lab.review import review as look
    from lab.reviewed import NAME, dump

    found = look(branch, recipe)
    content, comment = dump(found), markdown(found, Place(found.head.commit))
    write_bytes(FOLDER / NAME, content)
    write_text(FOLDER / "comment.md", comment)
    workflow.summarise(comment)
    outcome = found.comparison.outcome if found.comparison else "not compared"
    workflow.output({"mode": found.mode, "outcome": outcome, "passed": str(found.gate.passed).lower()})
    typer.echo(content.decode() if json else comment, nl=False)
