"""GitHub's REST API on loopback, as far as a comment needs it; every request is kept."""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

REPOSITORY = "/repos/owner/name"
TOKEN = "ghs_of_this_workflow"  # noqa: S105 - of no service
BOT = {"login": "github-actions[bot]"}


def zipped(**files: bytes) -> bytes:
    return zipped_as(list(files.items()))


def zipped_as(files: list[tuple[str, bytes]]) -> bytes:
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files:
                archive.writestr(name, content)
        return buffer.getvalue()


def pull(number: int, commit: str, repository: str = "stranger/name", branch: str = "change") -> dict[str, Any]:
    head = {"sha": commit, "ref": branch, "repo": {"full_name": repository}}
    return {"number": number, "state": "open", "head": head}


@dataclass
class Hub:
    """What GitHub knows, and what it was asked."""

    run: dict[str, Any]
    pulls: list[dict[str, Any]]
    artifacts: dict[str, bytes] = field(default_factory=dict)
    comments: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Authorization of each request; those to the storage's address as well."""
    size_told: int | None = None
    filters: bool = True
    """Whether pull requests are looked up by branch; else all are told, as for a branch that GitHub cannot read."""
    broken: bool = False
    api: str = ""
    storage: str = ""

    def answer(self, method: str, url: str, body: Any) -> tuple[int, Any]:  # noqa: PLR0911 - one a route
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        name, _, rest = path.removeprefix(REPOSITORY).lstrip("/").partition("/")
        if self.broken:
            return 502, {"message": "Bad Gateway"}
        if (method, name, rest) == ("GET", "actions", f"runs/{self.run['id']}"):
            return 200, self.run
        if (method, name, rest) == ("GET", "actions", f"runs/{self.run['id']}/artifacts"):
            return 200, {"artifacts": [self.described(i, key) for i, key in enumerate(self.artifacts)]}
        if (method, name) == ("GET", "pulls"):
            owner, _, branch = query["head"][0].partition(":")
            mine = [p for p in self.pulls if p["head"]["ref"] == branch]
            if not self.filters:
                return 200, self.pulls
            return 200, [p for p in mine if p["head"]["repo"]["full_name"].startswith(f"{owner}/")]
        if name == "issues" and rest.endswith("/comments"):
            return self.commented(method, int(rest.split("/")[0]), query, body)
        if (method, name) == ("PATCH", "issues"):
            comment = next(c for c in self.comments if c["id"] == int(rest.partition("/")[2]))
            comment.update(body)
            return 200, comment
        return 404, {"message": "Not Found"}

    def described(self, number: int, name: str) -> dict[str, Any]:
        size = len(self.artifacts[name]) if self.size_told is None else self.size_told
        return {"id": number, "name": name, "size_in_bytes": size, "expired": False}

    def commented(self, method: str, issue: int, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if method == "POST":
            made = {"id": len(self.comments) + 1, "issue": issue, "user": BOT, "html_url": f"{self.api}/c", **body}
            self.comments.append(made)
            return 201, made
        page, size = int(query["page"][0]), int(query["per_page"][0])
        return 200, [c for c in self.comments if c["issue"] == issue][size * (page - 1) : size * page]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def serve(self) -> None:
            hub.requests.append((self.command, self.path, self.headers["Authorization"]))
            if self.headers["Host"] == urlsplit(hub.storage).netloc:
                self.send(200, list(hub.artifacts.values())[int(self.path.strip("/"))])
            elif self.path.endswith("/zip"):
                self.send_response(302)
                self.send_header("Location", f"{hub.storage}/{self.path.split('/')[-2]}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                length = int(self.headers["Content-Length"] or 0)
                status, facts = hub.answer(self.command, self.path, json.loads(self.rfile.read(length) or b"null"))
                self.send(status, json.dumps(facts).encode())

        def send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may have read enough
                self.wfile.write(content)

        do_GET = do_POST = do_PATCH = serve  # noqa: N815 - http.server's names

        def log_message(self, *_arguments: object) -> None:
            """Silent."""

    return Handler


@contextlib.contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """The API and, under another address, where artifacts are stored."""
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) for _ in range(2)]
    hub.api, hub.storage = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    threads = [Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


def of_fork(commit: str, **other: Any) -> Hub:
    """A run of a fork's pull request 7, whose head is `commit`."""
    run = {
        "id": 11,
        "event": "pull_request",
        "head_sha": commit,
        "head_branch": "change",
        "head_repository": {"full_name": "stranger/name"},
    }
    return Hub(run=run | other, pulls=[pull(7, commit), pull(8, "f" * 40), pull(9, commit, "other/name")])
