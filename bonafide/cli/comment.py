"""`bonafide comment`: publish a review's comment: a workflow's second half, with a token and no trust in the first."""

from typing import Annotated

import typer


def comment(
    run: Annotated[int, typer.Argument(envvar="RUN", help="The workflow run that made the review.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print the comment's address and pull request as JSON.")] = False,
) -> None:
    """Write the review of RUN, or write it anew, as the one comment on its pull request.

    Reads GITHUB_TOKEN and GITHUB_REPOSITORY. The run's review.json is checked as whatever a stranger sends: its size,
    its form and its pull request, whose head must be the run's commit. Nothing of the pull request's code is run.
    """
    from json import dumps

    from bonafide.review.comment import publish

    number, address = publish(run)
    typer.echo(dumps({"pull_request": number, "address": address}) if json else address)
