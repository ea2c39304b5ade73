"""News for people reach a real web server, and whatever that does, nobody waits for it."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pydantic_settings import SettingsConfigDict

from servicekit.notifier import TOLD, Channel, News, Notifier, opened
from servicekit.notify_settings import NotifySettings
from tests.support.waiting import eventually

SECRET = base64.b64encode(b"a-secret-of-thirty-two-bytes-....").decode()
BROKEN = News("connection:1", "A connection <broke> & is down.", "rapport connection test 1", {"connection": "1"})


class SampleSettings(NotifySettings):
    """Settings under a prefix that nobody else has."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_SAMPLE_")


class Receiver:
    """A web server that keeps what it is sent and answers as told: statuses in turn, the last one for good."""

    def __init__(self) -> None:
        self.statuses = [200]
        self.hangs = False
        self.took: list[tuple[dict[str, str], bytes]] = []
        self.asked = 0
        self.url = ""
        self._going = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers["content-length"]))
        self.asked += 1
        if self.hangs:
            await self._going.wait()
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == 200:
            self.took.append((headers, body))
        with contextlib.suppress(ConnectionError):
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    def let_go(self) -> None:
        """Let those go that hang."""
        self._going.set()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A running receiver."""
    made = Receiver()
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
    async with server:
        yield made
        made.let_go()


def outcome(channel: str, word: str) -> float:
    """Return how often a channel had an outcome."""
    return TOLD.labels(channel, word)._value.get()


@asynccontextmanager
async def notifying(notifier: Notifier) -> AsyncIterator[Notifier]:
    """Let a notifier send for as long as the context lasts."""
    running = asyncio.create_task(notifier.run())
    try:
        yield notifier
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def files(folder: Path, **contents: str) -> dict[str, Path]:
    """Write files and return settings that name them."""
    for name, text in contents.items():
        (folder / name).write_text(f"{text}\n")
    return {f"notify_{name}_file": folder / name for name in contents}


async def test_news_reach_slack_and_a_signed_webhook(receiver: Receiver, tmp_path: Path) -> None:
    """Slack gets a text in which nothing is markup; the webhook's body is signed as Standard Webhooks says."""
    given: dict[str, Any] = files(tmp_path, slack_url=receiver.url, webhook_url=receiver.url, webhook_secret=SECRET)
    async with AsyncExitStack() as stack, notifying(await opened(SampleSettings(**given), "crm", stack)) as notifier:
        assert notifier.tell(BROKEN)

        async def both() -> bool:
            return len(receiver.took) == 2

        await eventually(both)
    texts = {json.loads(body).get("text") for _, body in receiver.took}
    assert "*crm*: A connection &lt;broke&gt; &amp; is down.\nDo: rapport connection test 1" in texts
    headers, body = next(one for one in receiver.took if "webhook-id" in one[0])
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = hmac.new(base64.b64decode(SECRET), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(wanted).decode()}"
    assert json.loads(body)["data"]["facts"] == {"connection": "1"}


async def test_a_server_that_fails_is_asked_again_and_one_that_refuses_is_not(
    receiver: Receiver, tmp_path: Path
) -> None:
    """An error of the server passes; that an address is wrong does not."""
    given: dict[str, Any] = files(tmp_path, slack_url=receiver.url)
    async with AsyncExitStack() as stack:
        (channel,) = (await opened(SampleSettings(**given), "crm", stack))._queues
        async with notifying(Notifier([channel], first_wait=0.01)) as notifier:
            receiver.statuses = [500, 429, 200]
            notifier.tell(BROKEN)

            async def taken() -> bool:
                return len(receiver.took) == 1

            await eventually(taken)
            assert receiver.asked == 3
            failed = outcome("slack", "failed")
            receiver.statuses = [404]
            notifier.tell(News("other", "Another thing.", "look"))

            async def given_up() -> bool:
                return outcome("slack", "failed") == failed + 1

            await eventually(given_up)
            assert receiver.asked == 4


async def test_a_server_that_hangs_holds_up_neither_who_tells_nor_the_other_channel(
    receiver: Receiver, tmp_path: Path
) -> None:
    """Telling takes no time, what does not fit is dropped and counted, and the channel that works is told all."""
    given: dict[str, Any] = files(tmp_path, slack_url=receiver.url)
    arrived: list[str] = []

    async def works(news: News) -> None:
        arrived.append(news.key)

    receiver.hangs = True
    async with AsyncExitStack() as stack:
        (slow,) = (await opened(SampleSettings(**given), "crm", stack))._queues
        notifier = Notifier([slow, Channel("works", works)], waiting=5, first_wait=0.01, patience=0.2)
        async with notifying(notifier):
            dropped = outcome("slack", "dropped")
            spent = 0.0
            for number in range(12):
                started = time.perf_counter()
                notifier.tell(News(f"key-{number}", "Something.", "look"))
                spent += time.perf_counter() - started
                await eventually(partial(_arrived, arrived, number + 1))
            assert spent < 0.1
            assert outcome("slack", "dropped") - dropped >= 5

            failed = outcome("slack", "failed")

            async def given_up() -> bool:
                return outcome("slack", "failed") > failed

            await eventually(given_up)


async def _arrived(arrived: list[str], number: int) -> bool:
    return len(arrived) == number


async def test_news_that_nobody_was_told_of_are_not_throttled() -> None:
    """What no channel has room for, and what every channel failed to send, is still news at the next look."""
    asked: list[str] = []

    async def refuses(news: News) -> None:
        asked.append(news.key)
        raise ValueError(news.key)

    other = News("other", "Another thing.", "look")
    notifier = Notifier([Channel("refuses", refuses)], waiting=1)
    assert notifier.tell(BROKEN)
    assert not notifier.tell(other)
    async with notifying(notifier):
        await eventually(partial(_arrived, asked, 1))
        assert notifier.tell(other)
        await eventually(partial(_arrived, asked, 2))
        assert notifier.tell(BROKEN)


def test_outcomes_are_told_of_before_the_first_message() -> None:
    """An alert on the increase of what was lost sees the first message that is."""
    Notifier([Channel("silent", _nothing)])
    for word in ("sent", "failed", "dropped", "throttled"):
        labels = {"channel": "silent", "outcome": word}
        assert REGISTRY.get_sample_value("rapport_notifications_total", labels) == 0


async def _nothing(_news: News) -> None: ...


async def test_the_same_news_is_told_once_until_it_is_over_or_old() -> None:
    """A connection that stays broken is told of once an hour; one that breaks anew is news."""
    now = [0.0]
    notifier = Notifier([Channel("silent", _nothing)], throttle=3600, clock=lambda: now[0])
    assert notifier.tell(BROKEN)
    assert not notifier.tell(BROKEN)
    assert notifier.tell(News("other", "Another thing.", "look"))
    notifier.over(BROKEN.key)
    assert notifier.tell(BROKEN)
    now[0] = 3599
    assert not notifier.tell(BROKEN)
    now[0] = 3600
    assert notifier.tell(BROKEN)
