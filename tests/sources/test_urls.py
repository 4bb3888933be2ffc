"""urls.py: downloads from a real server that breaks off, lies, leads astray and serves another file."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bonafide.params.pins import Link
from bonafide.project.errors import InputError
from bonafide.sources import download_cache, urls
from bonafide.sources.package_index import NetworkError
from bonafide.sources.urls import download, shown
from tests.file_server import CONTENT, OTHER, PIECE, Handler, serve

PIN = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def address():
    with serve() as found:
        yield found


@pytest.fixture(autouse=True)
def patience(monkeypatch, tmp_path):
    """An empty cache, no proxy of the machine's, and no waiting."""
    Handler.seen.clear()
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urls, "PAUSES", (0, 0))


def bring(url, pin=PIN, name=None):
    folder = Path("scratch")
    folder.mkdir(exist_ok=True)
    return download(Link(url=url, sha256=pin, name=name), folder)


def left():
    """Files in the cache."""
    return sorted(
        path.name for path in download_cache.entry("x").parent.rglob("*") if path.is_file() and path.suffix != ".lock"
    )


def test_a_file_is_fetched_once_under_its_name_and_a_corrupt_cache_again(address):
    file = bring(f"{address}/whole/rows.csv")
    assert (file.name, file.read_bytes()) == ("rows.csv", CONTENT)
    assert bring("http://127.0.0.1:9/not/there", name="again.csv").read_bytes() == CONTENT
    assert Path("scratch/again.csv").exists()
    assert len(Handler.seen) == 1
    (download_cache.entry(PIN) / "rows.csv").write_bytes(b"corrupt")
    assert bring(f"{address}/whole/rows.csv").read_bytes() == CONTENT
    assert (download_cache.entry(PIN) / "rows.csv").read_bytes() == CONTENT
    assert left() == ["rows.csv"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(address):
    assert bring(f"{address}/breaking/rows.csv").read_bytes() == CONTENT
    assert [ranged for _, ranged in Handler.seen] == ["", f"bytes={PIECE}-", f"bytes={2 * PIECE}-"]


def test_what_a_run_has_left_is_taken_up_by_the_next(address, monkeypatch):
    monkeypatch.setattr(urls, "PAUSES", ())
    with pytest.raises(NetworkError, match=rf"/breaking/rows.csv: the connection broke after {PIECE:,} bytes$"):
        bring(f"{address}/breaking/rows.csv")
    assert left() == [f"{PIN}.part"]
    assert not list(Path("scratch").iterdir())
    assert bring(f"{address}/whole/rows.csv").read_bytes() == CONTENT
    assert Handler.seen[-1][1] == f"bytes={PIECE}-"
    assert left() == ["rows.csv"]


@pytest.mark.parametrize("content", [b"another beginning", CONTENT + b"more", CONTENT])
def test_what_a_run_has_left_of_another_file_is_thrown_away(address, content):
    part = download_cache.entry(f"{PIN}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    assert bring(f"{address}/whole/rows.csv").read_bytes() == CONTENT
    assert left() == ["rows.csv"]


@pytest.mark.parametrize(
    "how", ["changing", "moved", "busy", "longer", "zipped", "chunked", "endless", "whole/x?token=secret&name="]
)
def test_the_pinned_file_comes_in_the_end(address, how):
    assert bring(f"{address}/{how}/rows.csv").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("how", "pin", "message"),
    [
        ("other", PIN, f"the pin is wrong, the actual sha256 is {hashlib.sha256(OTHER).hexdigest()}"),
        ("whole", "", f"the pin is missing, the actual sha256 is {PIN}"),
        ("shorter", PIN, f"the pin is wrong, the actual sha256 is {hashlib.sha256(CONTENT[:1000]).hexdigest()}"),
        ("404", PIN, "the server answers 404 Not Found"),
        ("403", PIN, "the server answers 403 Forbidden"),
        ("private", PIN, "the server answers 401 Unauthorized"),
        ("299", PIN, "the server answers 299"),
        ("circle", PIN, "the server leads in a circle"),
        ("astray", PIN, "the server leads to no address of HTTP"),
    ],
)
def test_what_a_server_refuses_and_another_file_are_the_users(address, how, pin, message):
    with pytest.raises(InputError) as refusal:
        bring(f"{address}/{how}/rows.csv?key=secret", pin)
    assert str(refusal.value) == f"params.yaml: data.downloads: {address}/{how}/rows.csv?…: {message}"
    assert left() == []


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("500", "the server answers 500 Internal Server Error"),
        ("429", "the server answers 429 Too Many Requests"),
        ("stubborn", f"the connection broke after {PIECE:,} bytes"),
        ("elsewhere", "the server sends another part of the file than is wanted"),
        ("hangs_up", "the server hangs up"),
    ],
)
def test_a_server_that_does_not_answer_in_full_is_named(address, how, message):
    with pytest.raises(NetworkError) as refusal:
        bring(f"{address}/{how}/rows.csv")
    assert str(refusal.value) == f"{address}/{how}/rows.csv: {message}"
    assert len(Handler.seen) == 3


def test_a_server_that_is_silent_is_given_up(address, monkeypatch):
    monkeypatch.setattr(urls, "PATIENCE", (30, 0.1))
    with pytest.raises(NetworkError, match=r"/silent/rows.csv: the server does not answer in time$"):
        bring(f"{address}/silent/rows.csv")


def test_a_server_that_drips_is_given_up(address, monkeypatch):
    monkeypatch.setattr(urls, "WINDOW", 0.2)
    monkeypatch.setattr(urls, "PAUSES", ())
    began = time.monotonic()
    with pytest.raises(NetworkError, match=r"rows.csv: the server sends less than 1,000 bytes a second$"):
        bring(f"{address}/dripping/rows.csv")
    assert time.monotonic() - began < 30


def test_who_cannot_be_reached_is_named(address, monkeypatch):
    with pytest.raises(NetworkError, match=r"^http://127.0.0.1:9/x: the server cannot be reached$"):
        bring("http://127.0.0.1:9/x")
    with pytest.raises(NetworkError, match=r"^https://127.0.0.1:\d+/x: TLS: .*wrong version number|record layer"):
        bring(f"{address.replace('http', 'https')}/x")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(NetworkError, match=r"^http://elsewhere.test/x: the proxy cannot be reached$"):
        bring("http://elsewhere.test/x")


def test_proxies_are_honoured(address, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", address)
    assert bring("http://elsewhere.test/whole/rows.csv").read_bytes() == CONTENT
    assert Handler.seen[-1][0] == "http://elsewhere.test/whole/rows.csv"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match="404"):
        bring(f"{address}/404/rows.csv", "0" * 64)
    assert Handler.seen[-1][0] == "/404/rows.csv"


def test_a_password_is_taken_from_netrc_and_never_from_a_url(address, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert bring(f"{address}/private/rows.csv").read_bytes() == CONTENT
    assert shown("https://host:1/a/b.csv?X-Amz-Signature=secret#x") == "https://host:1/a/b.csv?…"


def test_a_cache_that_cannot_be_written_is_no_cache(address, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert bring(f"{address}/breaking/rows.csv").read_bytes() == CONTENT


def test_two_at_once_fetch_it_once(address):
    code = "import sys; from tests.sources.test_urls import bring; print(len(bring(sys.argv[1]).read_bytes()))"
    command = [sys.executable, "-c", code, f"{address}/breaking/rows.csv"]
    root = Path(__file__).parents[2]
    runs = []
    for number in range(2):
        Path(str(number)).mkdir()
        runs.append(
            subprocess.Popen(
                command, cwd=str(number), stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
            )
        )
    assert [run.communicate(timeout=100)[0] for run in runs] == [b"%d\n" % len(CONTENT)] * 2
    assert len(Handler.seen) == 3
