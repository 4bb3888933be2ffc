"""A base model from a hub: the real client against a hub of our own on loopback."""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bonafide.project.files import sha256
from tests.project import small_project

pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = re.compile(rf"/me/tiny/resolve/{COMMIT}/([^/?]+)")


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks for: a listing of the revision, then each file with its commit and hash."""

    folder: Path

    def log_message(self, *_arguments):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        names = sorted(path.name for path in self.folder.iterdir())
        if found := FILE.match(self.path):
            path = self.folder / found[1]
            self.answer(200, path.read_bytes(), ETag=f'"{sha256(path)}"', X_Repo_Commit=COMMIT)
        elif self.path.startswith(f"/api/models/me/tiny/revision/{COMMIT}"):
            listing = {"id": "me/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            self.answer(200, json.dumps(listing).encode(), Content_Type="application/json")
        elif self.path.startswith(f"/api/models/me/tiny/tree/{COMMIT}"):
            tree = [
                {"type": "file", "path": n, "size": (self.folder / n).stat().st_size, "oid": "0" * 40} for n in names
            ]
            self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
        else:
            self.answer(404, X_Error_Code="RevisionNotFound")

    do_HEAD = do_GET  # noqa: N815 - http.server finds methods by these names


@pytest.fixture
def hub(tmp_path):
    project = small_project(tmp_path / "clone", rows=60)
    (project.folder / "tiny").rename(tmp_path / "hub")
    (tmp_path / "hub/pytorch_model.bin").write_bytes(b"a pickle that is never asked for")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Hub,), {"folder": tmp_path / "hub"}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield project, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetch(project, endpoint, home):
    return project.run(
        sys.executable, "-m", "stages.fetch", HF_ENDPOINT=endpoint, HF_HOME=str(home), XDG_CACHE_HOME=str(home)
    )


def test_a_model_of_the_hub_is_fetched_pinned_and_kept_for_offline(hub, tmp_path):
    project, endpoint = hub
    project.set(model__source="hf:me/tiny", model__revision=COMMIT)
    done = fetch(project, endpoint, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    kept = {path.name for path in (project.folder / "models/base").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= kept
    assert "pytorch_model.bin" not in kept
    again = fetch(project, "http://127.0.0.1:9", tmp_path / "home")
    assert again.returncode == 0, again.stderr


def test_a_file_that_has_changed_on_the_hub_is_refused_with_its_hash(hub, tmp_path):
    project, endpoint = hub
    project.set(model__source="hf:me/tiny", model__revision=COMMIT)
    config = tmp_path / "hub/config.json"
    config.write_text(config.read_text() + " ")
    done = fetch(project, endpoint, tmp_path / "home")
    assert done.returncode == 3
    assert sha256(config) in done.stderr
    assert not (project.folder / "models/base").exists()


def test_a_revision_that_the_hub_lacks_is_refused(hub, tmp_path):
    project, endpoint = hub
    project.set(model__source="hf:me/tiny", model__revision="f" * 40)
    done = fetch(project, endpoint, tmp_path / "home")
    lines = [line for line in done.stderr.splitlines() if line.startswith("fetch:")]
    assert (done.returncode, len(lines)) == (3, 1), done.stderr
