"""A web server of a domain's owner, for proofs of control."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class ProofServer:
    """Answers GETs over HTTP/1.1 with what stands in `answers`, by host and path; with 404 where nothing does."""

    def __init__(self, hosts_file: Path) -> None:
        self._hosts_file = hosts_file
        self.answers: dict[tuple[str, str], bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.address = ""
        self._held: set[str] = set()
        self._released = asyncio.Event()
        self._news = asyncio.Condition()

    def hold(self, host: str) -> None:
        """Keep whoever asks this host waiting until `release`."""
        self._held.add(host)

    def release(self) -> None:
        """Answer those who were kept waiting."""
        self._released.set()

    async def wait_until_asked(self, host: str) -> None:
        """Wait until somebody has asked this host.

        Raises:
            TimeoutError: nobody has for ten seconds.
        """
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: any(asked == host for asked, _ in self.asked))

    def serve(self, host: str, path: str, body: str, *, status: str = "200 OK", headers: str = "") -> None:
        """Answer like this from now on."""
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body.encode())}\r\nconnection: close\r\n{headers}\r\n"
        self.answers[host, path] = (head + body).encode()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = lines[0].split(" ")[1]
        host = next(line.partition(":")[2].strip() for line in lines if line.lower().startswith("host:"))
        async with self._news:
            self.asked.append((host, path))
            self._news.notify_all()
        if host in self._held:
            await self._released.wait()
        missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        writer.write(self.answers.get((host, path), missing))
        writer.close()

    def stand_for(self, *domains: str) -> None:
        """Write into the tenant service's file of hosts that these domains are here."""
        known = json.loads(self._hosts_file.read_text()) if self._hosts_file.exists() else {}
        # Replaced as a whole: the service may read it at any moment.
        new = self._hosts_file.with_suffix(".new")
        new.write_text(json.dumps(known | dict.fromkeys(domains, self.address)))
        new.replace(self._hosts_file)


@asynccontextmanager
async def proof_server(hosts_file: Path, tls: ssl.SSLContext | None = None) -> AsyncIterator[ProofServer]:
    """Run a server on a free port; the tenant service under test was told of the file of hosts."""
    made = ProofServer(hosts_file)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0, ssl=tls)
    host, port = server.sockets[0].getsockname()[:2]
    made.address = f"{host}:{port}"
    async with server:
        yield made
