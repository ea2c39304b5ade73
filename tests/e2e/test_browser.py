"""A page in a real browser: the documentation, in drills gRPC-Web and the stream of events, too. Needs Chromium."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from rapport.tenant.v1.api_key_pb2 import ApiKey

from tests.support.world import SuiteUnderTest, call, furnish, new_shop, operator_token

PAGE = Path(__file__).parent / "page.html"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SECONDS = 60
DESK = ["customers.read", "recommendations.read", "recommendations.write", "tickets.read", "tickets.write"]


@pytest.fixture(scope="session")
def browser() -> str:
    """A Chromium of this machine; the tests are skipped where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    return found


class PageServer:
    """Serves the page on a port of this machine, and takes what it reports."""

    def __init__(self) -> None:
        self.result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ", 2)[1].partition("?")[0]
        length = next((int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        if path == "/result":
            self.result.set_result(json.loads(body))
        elif path == "/hold":
            await self.result
        content = PAGE.read_bytes() if path == "/" else b""
        kind = "text/html" if path == "/" else "text/plain"
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n".encode())
        writer.write(content)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def page_server() -> AsyncIterator[tuple[PageServer, int]]:
    """Run a page server on a free port."""
    pages = PageServer()
    server = await asyncio.start_server(pages.serve, "127.0.0.1", 0)
    try:
        yield pages, server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def browse(browser: str, profile: Path, address: str, *options: str) -> str:
    """Open an address and return the document as it is in the end."""
    process = await asyncio.create_subprocess_exec(
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        # The suite's own authority is not one that browsers know.
        "--ignore-certificate-errors",
        f"--user-data-dir={profile}",
        "--dump-dom",
        *options,
        address,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode()


async def browser_key(suite: SuiteUnderTest, slug: str, origin: str) -> str:
    """Make a key for pages of one origin."""
    made: Any = await call(
        suite.grpc["tenant"],
        "rapport.tenant.v1.ApiKeyService/CreateApiKey",
        {
            "api_key": {
                "name": "desk",
                "kind": ApiKey.Kind.Name(ApiKey.KIND_BROWSER),
                "scopes": DESK,
                "allowed_origins": [origin],
            }
        },
        await operator_token(suite, slug),
    )
    return str(made.key)


@pytest.mark.drill
async def test_a_page_calls_grpc_web_and_reads_the_stream(suite: SuiteUnderTest, browser: str, tmp_path: Path) -> None:
    """With a browser key of its origin a page lists tickets by gRPC-Web and sees its new one come over the stream."""
    shop = await furnish(suite, await new_shop(suite, "browsed"))
    async with page_server() as (pages, port):
        key = await browser_key(suite, shop.slug, f"http://localhost:{port}")
        query = urlencode({"api": suite.https_url, "key": key})
        await browse(browser, tmp_path, f"http://localhost:{port}/?{query}")
        found = await asyncio.wait_for(pages.result, 1)
    assert found["call"]["http"] == 200
    assert found["call"]["messages"][0] > 0
    assert "grpc-status:0" in found["call"]["trailers"].replace(" ", "")
    assert found["events"][0] == {"status": 200, "type": "text/event-stream"}
    assert [event["event"] for event in found["events"][1:]][-1] == "created"
    assert found["created"] == 200


@pytest.mark.drill
async def test_a_page_of_another_origin_is_refused(suite: SuiteUnderTest, browser: str, tmp_path: Path) -> None:
    """The key in a page that is served elsewhere opens neither the call nor the stream, and the page learns why."""
    shop = await new_shop(suite, "elsewhere")
    async with page_server() as (pages, port):
        key = await browser_key(suite, shop.slug, "https://shop.example.com")
        query = urlencode({"api": suite.https_url, "key": key})
        await browse(browser, tmp_path, f"http://localhost:{port}/?{query}")
        found = await asyncio.wait_for(pages.result, 1)
    assert found["call"]["messages"] == []
    assert "grpc-status:7" in found["call"]["trailers"].replace(" ", "")
    assert [event["status"] for event in found["events"]] == [403]


async def test_the_documentation_page_shows_every_operation(
    suite: SuiteUnderTest, browser: str, tmp_path: Path
) -> None:
    """`/docs` renders from `/openapi.json` without anything from elsewhere."""
    document = await browse(browser, tmp_path, f"{suite.https_url}/docs", "--virtual-time-budget=20000")
    async with suite.client() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    operations = [one["operationId"] for verbs in paths.values() for one in verbs.values()]
    assert len(operations) > 50
    assert [name for name in operations if f'id="{name}"' not in document] == []
    assert "Loading" not in document
