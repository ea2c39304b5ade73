"""A predecessor that answers over HTTP: says who it is, keeps what it was asked, and fails when told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    verb: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class OldSide:
    """A running one: where it is, what it was asked, and the status that it answers with."""

    url: str
    status: int = 200
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def old_side() -> Iterator[OldSide]:
    """Give one on a free port, and stop it afterwards."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    side = OldSide(f"http://127.0.0.1:{server.server_port}")
    server.side = side  # type: ignore[attr-defined]  # the handler's only way to reach it
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield side
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers every request with who it is and what it was asked."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        side: OldSide = self.server.side  # type: ignore[attr-defined]  # set where the server is made
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        side.asked.append(Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        text = json.dumps({"server": "predecessor", "path": self.path}).encode()
        self.send_response(side.status)
        self.send_header("content-type", "application/json")
        self.send_header("access-control-allow-origin", "*")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer  # noqa: N815 - the names that the library calls

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""
