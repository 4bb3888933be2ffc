"""GitHub's REST API, as far as one comment needs it. What it says is believed; what a run has uploaded is not."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import requests

from bonafide.project.errors import InputError

PATIENCE = (10, 60)  # seconds to connect, and between two parts of an answer
PAGES = 30  # of 100 comments; a pull request with more gets a second comment of ours
AUTHOR = "github-actions[bot]"  # whose comments a workflow's own token writes
Facts = dict[str, Any]


@dataclass(frozen=True)
class Api:
    """One repository, over one session."""

    session: requests.Session
    root: str
    """`https://api.github.com/repos/OWNER/NAME`."""


@dataclass(frozen=True)
class Run:
    """A workflow's run on a pull request."""

    id: int
    commit: str
    """The head of the pull request at that time."""
    repository: str
    """OWNER/NAME that the head lies in: a fork, often."""
    branch: str


def connect() -> Api:
    """The repository of the workflow that we are in; raise InputError where we are in none."""
    missing = [name for name in ("GITHUB_TOKEN", "GITHUB_REPOSITORY") if not os.environ.get(name)]
    if missing:
        raise InputError(f"{', '.join(missing)}: not set; a comment is written by .github/workflows/comment.yml")
    session = requests.Session()
    session.auth = _authorize  # a header of the session's would give way to a ~/.netrc
    session.headers["Accept"] = "application/vnd.github+json"
    session.headers["X-GitHub-Api-Version"] = "2022-11-28"
    server = os.environ.get("GITHUB_API_URL", "https://api.github.com")
    return Api(session, f"{server}/repos/{os.environ['GITHUB_REPOSITORY']}")


def _authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = f"Bearer {os.environ['GITHUB_TOKEN']}"
    return request


def _ask(api: Api, method: str, url: str, **how: Any) -> requests.Response:
    try:
        answer = api.session.request(method, url, timeout=PATIENCE, **how)
    except requests.RequestException as error:
        _fail(method, url, type(error).__name__)
    if not answer.ok:
        _fail(method, url, str(answer.status_code))
    return answer


def _fail(method: str, url: str, what: str) -> NoReturn:
    """Without the query: an address of a download is a key to it."""
    raise OSError(f"{method} {url.partition('?')[0]}: {what}") from None


def run(api: Api, run_id: int) -> Run:
    """The run; raise InputError where it is none of a pull request."""
    facts = _ask(api, "GET", f"{api.root}/actions/runs/{run_id}").json()
    if facts["event"] != "pull_request" or not facts["head_repository"]:
        raise InputError(f"run {run_id}: is not of a pull request, or its repository is gone")
    return Run(run_id, facts["head_sha"], facts["head_repository"]["full_name"], facts["head_branch"])


def pull_requests(api: Api, of: Run) -> list[int]:
    """The open pull requests whose head is the run's commit now, in the run's repository.

    A run names them itself only where it is of no fork, so they are looked up by owner and branch.
    """
    query = {"state": "open", "head": f"{of.repository.partition('/')[0]}:{of.branch}", "per_page": "100"}
    heads = {pull["number"]: pull["head"] for pull in _ask(api, "GET", f"{api.root}/pulls", params=query).json()}
    here = {number: head for number, head in heads.items() if (head["repo"] or {}).get("full_name") == of.repository}
    return [number for number, head in here.items() if head["sha"] == of.commit]


def artifacts(api: Api, of: Run) -> dict[str, Facts]:
    """The artifacts of a run by name; of several attempts the newest."""
    listed = _ask(api, "GET", f"{api.root}/actions/runs/{of.id}/artifacts", params={"per_page": "100"}).json()
    newest_last = sorted(listed["artifacts"], key=lambda entry: int(entry["id"]))
    return {entry["name"]: entry for entry in newest_last if not entry["expired"]}


def download(api: Api, artifact: Facts, limit: int) -> bytes:
    """An artifact's archive; raise InputError as soon as it is larger than `limit` bytes."""
    refused = InputError(f"artifact: larger than {limit:,} bytes")
    if artifact["size_in_bytes"] > limit:
        raise refused
    # answered by a redirect to another host, for which requests drops the token
    with _ask(api, "GET", f"{api.root}/actions/artifacts/{artifact['id']}/zip", stream=True) as answer:
        content = b""
        for part in answer.iter_content(65_536):
            content += part
            if len(content) > limit:
                raise refused
    return content


def put_comment(api: Api, pull_request: int, marker: str, body: str) -> str:
    """Write our one comment, or write it anew: the first of our own that begins with `marker`. Return its address."""
    for comment in _comments(api, pull_request):
        if comment["user"] and comment["user"]["login"] == AUTHOR and (comment["body"] or "").startswith(marker):
            url = f"{api.root}/issues/comments/{comment['id']}"
            return str(_ask(api, "PATCH", url, json={"body": body}).json()["html_url"])
    url = f"{api.root}/issues/{pull_request}/comments"
    return str(_ask(api, "POST", url, json={"body": body}).json()["html_url"])


def _comments(api: Api, pull_request: int) -> Iterator[Facts]:
    for page in range(1, PAGES + 1):
        query = {"per_page": "100", "page": str(page)}
        comments = _ask(api, "GET", f"{api.root}/issues/{pull_request}/comments", params=query).json()
        yield from comments
        if len(comments) < 100:
            return


def address(run_id: int) -> str:
    """Where people see a run."""
    server, repository = os.environ.get("GITHUB_SERVER_URL", "https://github.com"), os.environ["GITHUB_REPOSITORY"]
    return f"{server}/{repository}/actions/runs/{run_id}"


def number_of(ref: str) -> int | None:
    """The pull request that a ref (`refs/pull/7/merge`) is of."""
    found = re.fullmatch(r"refs/pull/(\d{1,12})/merge", ref)
    return int(found[1]) if found else None
