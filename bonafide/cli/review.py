"""Review a pull request: what HEAD changes against its base branch, as data, as a comment and for a gate."""

from pathlib import Path
from typing import Annotated

import typer

from bonafide.project.files import write_bytes, write_text
from bonafide.review import actions

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
    from bonafide.review.comment import Place, markdown
    from bonafide.review.review import FOLDER
    from bonafide.review.review import review as look
    from bonafide.review.schema import NAME, dump

    found = look(branch, recipe)
    content, comment = dump(found), markdown(found, Place(found.head.commit))
    write_bytes(FOLDER / NAME, content)
    write_text(FOLDER / "comment.md", comment)
    actions.summarise(comment)
    outcome = found.comparison.outcome if found.comparison else "not compared"
    actions.output({"mode": found.mode, "outcome": outcome, "passed": str(found.gate.passed).lower()})
    typer.echo(content.decode() if json else comment, nl=False)
