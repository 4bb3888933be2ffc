"""The comment on a pull request, from the facts of its review: Markdown, readable on a phone, within GitHub's limit."""

from dataclasses import dataclass
from pathlib import Path

from bonafide.project.errors import InputError
from bonafide.reporting.html import render
from bonafide.review import github
from bonafide.review.artifact import only_member
from bonafide.review.schema import MAX_BYTES, NAME, Review, parse

TEMPLATES = Path(__file__).parent / "templates"
MARKER = "<!-- bonafide:review -->"  # by which our one comment is found again
LIMIT = 65_536  # characters of a comment (GitHub)
ARTIFACT, REPORT = "review", "report"  # as .github/workflows/pr.yml names them
CUT = "\n\n*Cut here, since GitHub takes 65,536 characters; the artifact of the run has the rest.*\n\n"


@dataclass(frozen=True)
class Place:
    """Where the review was made, from whoever is believed: never from the review itself."""

    commit: str
    """The head of the pull request."""
    run: str | None = None
    """Address of the run."""
    report: str | None = None
    """Address of its report."""


def markdown(review: Review, place: Place) -> str:
    """The comment; where it would be longer than GitHub takes, lines before the last are left out, and it says so."""
    return _cut(f"{MARKER}\n{render('comment.md', TEMPLATES, review=review, place=place)}")


def _cut(text: str) -> str:
    if _length(text) <= LIMIT:
        return text
    body, _, last = text.rstrip().rpartition("\n")
    room = LIMIT - _length(CUT + last) - 1
    kept = body.encode("utf-16-le")[: 2 * room].decode("utf-16-le", errors="ignore")
    return f"{kept[: kept.rindex(chr(10))].rstrip()}{CUT}{last}\n"


def _length(text: str) -> int:
    """In UTF-16 units, the longest that anybody counts."""
    return len(text.encode("utf-16-le")) // 2


def publish(run_id: int) -> tuple[int, str]:
    """Comment on the pull request of a run with what it found; return the number and the comment's address.

    Raise InputError where the run is of no pull request that is open at its commit, or its artifact is not what
    `bonafide review` writes or says that it is of another pull request.
    """
    api = github.connect()
    run = github.run(api, run_id)
    found = github.artifacts(api, run)
    if ARTIFACT not in found:
        raise InputError(f"run {run_id}: has no artifact {ARTIFACT}")
    archive = github.download(api, found[ARTIFACT], MAX_BYTES)
    review = parse(only_member(archive, NAME, MAX_BYTES))
    number = _choose(review.pull_request, github.pull_requests(api, run), run)
    address = github.address(run_id)
    report = f"{address}/artifacts/{int(found[REPORT]['id'])}" if REPORT in found else None
    body = markdown(review, Place(run.commit, address, report))
    return number, github.put_comment(api, number, MARKER, body)


def _choose(claimed: int | None, possible: list[int], run: github.Run) -> int:
    """One commit may be the head of several pull requests; the review says which, and may name no other."""
    if not possible:
        raise InputError(f"run {run.id}: no open pull request has its commit {run.commit[:10]} as its head now")
    if claimed not in possible:
        raise InputError(f"{NAME}: is of another pull request than run {run.id}")
    return claimed
