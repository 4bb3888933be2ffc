"""An HTTP server on loopback that serves files well and badly, by their paths."""

import base64
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

CONTENT = b"".join(b"row %06d of a file that matters,%d\n" % (row, row % 2) for row in range(20_000))  # 700 kB
OTHER = b"another file\n"
PIECE = 300_000  # bytes after which a connection breaks
LOGIN = "Basic " + base64.b64encode(b"ann:secret").decode()


class Handler(BaseHTTPRequestHandler):
    """Answers `/how/name`: `how` is a method's name."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str]]] = []
    """Path and Range of each request."""
    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("Range", "")))
        how = self.path.removeprefix("http://elsewhere.test").split("/")[1].partition("?")[0]
        if how.isdecimal():
            self.reply(int(how), b"<html>sorry</html>")
        else:
            getattr(self, f"serve_{how}")()
        self.close_connection = True

    def reply(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def ranged(self, content: bytes, most: int, etag: str) -> None:
        """At most so many bytes of the rest, whatever was announced."""
        at = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if self.headers.get("If-Range", etag) != etag:
            at = 0
        if at >= len(content):
            self.reply(416, b"", Content_Range=f"bytes */{len(content)}")
            return
        self.reply(
            206 if at else 200,
            content[at : at + most],
            length=len(content) - at,
            ETag=etag,
            **({"Content_Range": f"bytes {at}-{len(content) - 1}/{len(content)}"} if at else {}),
        )

    def times(self) -> int:
        return Counter(path for path, _ in self.seen)[self.path]

    def serve_whole(self) -> None:
        self.ranged(CONTENT, len(CONTENT), '"a"')

    def serve_breaking(self) -> None:
        self.ranged(CONTENT, PIECE, '"a"')

    def serve_elsewhere(self) -> None:
        """Another part than is asked for."""
        self.reply(206, CONTENT[7:], Content_Range=f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")

    def serve_stubborn(self) -> None:
        """Breaks, and knows no ranges."""
        self.reply(200, CONTENT[:PIECE], length=len(CONTENT))

    def serve_changing(self) -> None:
        """Another file before the break than after it."""
        first = self.times() == 1
        self.ranged(b"x" * len(CONTENT) if first else CONTENT, PIECE if first else len(CONTENT), f'"{first}"')

    def serve_other(self) -> None:
        self.reply(200, OTHER)

    def serve_longer(self) -> None:
        """Announces more than the file has."""
        self.reply(200, CONTENT, length=len(CONTENT) + 1000)

    def serve_shorter(self) -> None:
        """Announces less."""
        self.reply(200, CONTENT, length=1000)

    def serve_chunked(self) -> None:
        """Announces no length; the first time it breaks off."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = CONTENT[:PIECE] if self.times() == 1 else CONTENT
        self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
        if self.times() > 1:
            self.wfile.write(b"0\r\n\r\n")

    def serve_endless(self) -> None:
        """Announces no length and ends with the connection."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def serve_zipped(self) -> None:
        self.reply(200, CONTENT, Content_Encoding="gzip")

    def serve_file(self) -> None:
        self.reply(200, self.files[self.path.rpartition("/")[2]])

    def serve_moved(self) -> None:
        self.reply(302, b"", Location="/whole/rows.csv")

    def serve_circle(self) -> None:
        self.reply(302, b"", Location=self.path)

    def serve_astray(self) -> None:
        self.reply(302, b"", Location="file:///etc/passwd")

    def serve_busy(self) -> None:
        """Twice too busy."""
        if self.times() < 3:
            self.reply(503, b"")
        else:
            self.serve_whole()

    def serve_private(self) -> None:
        if self.headers.get("Authorization") == LOGIN:
            self.serve_whole()
        else:
            self.reply(401, b"", WWW_Authenticate="Basic")

    def serve_silent(self) -> None:
        time.sleep(1)

    def serve_hangs_up(self) -> None:
        pass

    def serve_dripping(self) -> None:
        self.reply(200, b"", length=len(CONTENT))
        for byte in CONTENT[:40]:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.05)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Quiet about clients that went away."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def serve(files: Mapping[str, bytes] | None = None) -> Iterator[str]:
    """The address of a running server, which has `files` at /file/NAME."""
    Handler.seen.clear()
    Handler.files = dict(files or {})
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
