"""Files by URL for a loader: taken up again where a connection breaks, verified, and kept for the next clone."""

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from bonafide.params.pins import Link
from bonafide.project.errors import InputError
from bonafide.project.files import sha256
from bonafide.sources import download_cache
from bonafide.sources.package_index import NetworkError

PATIENCE = (10, 30)  # seconds to connect, and between two bytes
WINDOW, SLOWEST = 30, 1_000  # seconds, and the fewest bytes a second over them: no file of any use comes slower
PAUSES = (1, 2, 4, 8)  # seconds before each further try; a try that brings STEP bytes starts them anew
STEP = 2**20
AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


class BrokenError(Exception):
    """A transfer ended early; the message says how."""


def download(link: Link, folder: Path) -> Path:
    """The verified file of `link`, from the cache or through `folder`, under its name there.

    Raises InputError with the actual hash where the pin is missing or wrong, and for what a server refuses;
    NetworkError where none answers in full. A file that was broken off is taken up by the next run.
    """
    file = folder / link.key
    with _partial_file(link, folder) as part:
        cached = download_cache.find(link.sha256)
        if cached:
            shutil.copyfile(cached, file)
            return file
        _transfer_verified(link, part)
        shutil.move(part, file)
        download_cache.keep(link.sha256, [file])
    return file


@contextmanager
def _partial_file(link: Link, folder: Path) -> Iterator[Path]:
    """Where the bytes go meanwhile: into the cache, one process at a time, or where there is none into `folder`."""
    part, lock = download_cache.entry(f"{link.sha256}.part"), None
    if link.sha256:
        with contextlib.suppress(OSError):
            part.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(part.with_suffix(".lock"))
            lock.acquire()
    try:
        yield part if lock and lock.is_locked else folder / "part"
    finally:
        if lock:
            lock.release()


def _transfer_verified(link: Link, part: Path) -> None:
    for _ in range(2):
        resumed = _size(part) > 0
        failure = _transfer(link, part)
        actual = sha256(part) if part.exists() else ""
        if actual and actual == link.sha256:
            return
        if failure:
            raise failure
        part.unlink()
        if not resumed:  # else what an earlier run has left may be of another file: once more from the start
            break
    state = "wrong" if link.sha256 else "missing"
    raise InputError(f"{_named(link)}: the pin is {state}, the actual sha256 is {actual}")


def _transfer(link: Link, part: Path) -> NetworkError | None:
    """Transfer until the whole file is there; return why it is not."""
    pauses = iter(PAUSES)
    with requests.Session() as session:
        transfer = Transfer(link, part, session)
        while True:
            before = _size(part)
            try:
                transfer.run()
            except BrokenError as error:
                pauses = iter(PAUSES) if _size(part) - before >= STEP else pauses
                pause = next(pauses, None)
                if pause is None:
                    return NetworkError(f"{shown(link.url)}: {error}")
                time.sleep(pause)
            else:
                return None


@dataclass
class Transfer:
    """One file on its way; `run` goes on from the bytes that are there."""

    link: Link
    part: Path
    session: requests.Session
    validator: dict[str, str] = field(default_factory=dict)
    """`If-Range`, by which a server sends the rest of the same file only, and else the whole of another."""

    def run(self) -> None:
        """Raise BrokenError where the file is not complete, InputError where it never will be."""
        at = _size(self.part)
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={at}-", **self.validator} if at else {})}
        try:
            with self.session.get(self.link.url, headers=headers, stream=True, timeout=PATIENCE) as answer:
                self._receive(answer, at)
        except requests.exceptions.SSLError as error:
            reason = re.search(r"\] ([^(]+?) \(_ssl", str(error))
            raise NetworkError(f"{shown(self.link.url)}: TLS: {reason[1] if reason else 'no trust'}") from None
        except (requests.Timeout, ReadTimeoutError):
            raise BrokenError("the server does not answer in time") from None
        except requests.ConnectionError as error:
            who = "proxy" if isinstance(error, requests.exceptions.ProxyError) else "server"
            hung_up = error.args and isinstance(error.args[0], ProtocolError)
            raise BrokenError(f"the {who} {'hangs up' if hung_up else 'cannot be reached'}") from None
        except requests.RequestException as error:
            where = "in a circle" if isinstance(error, requests.TooManyRedirects) else "to no address of HTTP"
            raise InputError(f"{_named(self.link)}: the server leads {where}") from None
        except HTTPError:
            raise BrokenError(f"the connection broke after {_size(self.part):,} bytes") from None

    def _receive(self, answer: requests.Response, at: int) -> None:
        whole = re.search(r"/(\d{1,18})$", answer.headers.get("Content-Range", ""))
        if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and at:
            if whole and int(whole[1]) == at:
                return
            self.part.unlink()
            raise BrokenError("the file has become another one meanwhile")
        if answer.status_code in AGAIN or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise BrokenError(f"the server answers {_status(answer)}")
        if answer.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise InputError(f"{_named(self.link)}: the server answers {_status(answer)}")
        goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {at}-")
        if answer.status_code == HTTPStatus.PARTIAL_CONTENT and not goes_on:
            self.part.unlink(missing_ok=True)
            raise BrokenError("the server sends another part of the file than is wanted")
        etag = answer.headers.get("ETag", "")
        self.validator = {"If-Range": etag} if etag.startswith('"') else {}
        with self.part.open("ab" if at and goes_on else "wb") as file:
            _write(answer, file)


def _write(answer: requests.Response, file: BinaryIO) -> None:
    """Write what comes as it comes; `iter_content` would wait for a whole chunk of a slow file."""
    began, came = time.monotonic(), 0
    while piece := answer.raw.read1(STEP):
        file.write(piece)
        came += len(piece)
        if time.monotonic() - began > WINDOW:
            if came < WINDOW * SLOWEST:
                raise BrokenError(f"the server sends less than {SLOWEST:,} bytes a second")
            began, came = time.monotonic(), 0


def shown(url: str) -> str:
    """A URL for people, without what stands behind its path: that may be a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}{'?…' if parts.query else ''}"


def _named(link: Link) -> str:
    return f"params.yaml: data.downloads: {shown(link.url)}"


def _status(answer: requests.Response) -> str:
    phrases = {status.value: f" {status.phrase}" for status in HTTPStatus}
    return f"{answer.status_code}{phrases.get(answer.status_code, '')}"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
