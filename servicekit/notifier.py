"""Tells people what no figure tells: a message to Slack or to any web address, beside the work and never in its way.

`tell` returns at once whatever the other side does. The same news is told once in a while only; what waits is bounded,
and what does not fit is dropped and counted. Addresses and secrets stand in files, which are read for each message.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import structlog
from prometheus_client import Counter
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from servicekit.database import Database
from servicekit.errors import DomainError
from servicekit.ids import uuid7
from servicekit.notify_settings import NotifySettings

_log = structlog.get_logger(__name__)
TOLD = Counter("rapport_notifications_total", "News for people, by channel and outcome.", ("channel", "outcome"))

THROTTLE_SECONDS = 3600.0
"""How long the same news is not told again."""

MOST_WAITING = 100
"""How many messages of a channel wait at most."""

_OUTCOMES = ("sent", "failed", "dropped", "throttled")
"""Each is told of as 0 from the start: the first event of a figure that begins with it is no increase."""

_MOST_REMEMBERED = 10_000
_SEND_SECONDS = 10.0
_ATTEMPTS = 4
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 30.0


class NotTakenError(Exception):
    """The other side did not take a message; a repetition may work."""


@dataclass(frozen=True, slots=True)
class News:
    """Something that people should know of: ids, counts and fixed words, never content or secrets.

    Attributes:
        key: what it is about; the same key is throttled.
        summary: one sentence.
        remedy: what to do.
        facts: the ids and figures behind it.
    """

    key: str
    summary: str
    remedy: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Message:
    """News on their way: in how many channels they still wait, and whether one has sent them."""

    news: News
    waiting: int = 0
    sent: bool = False


Send = Callable[[News], Awaitable[None]]
"""Sends one message, or raises."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to people: a word for logs and figures, and how a message is sent."""

    name: str
    send: Send


class Notifier:
    """Tells news by all channels; without any it does nothing."""

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        throttle: float = THROTTLE_SECONDS,
        waiting: int = MOST_WAITING,
        first_wait: float = _FIRST_WAIT,
        patience: float = _SEND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queues = {channel: asyncio.Queue[_Message](waiting) for channel in channels}
        self._throttle = throttle
        self._first_wait = first_wait
        self._patience = patience
        self._clock = clock
        self._told: OrderedDict[str, float] = OrderedDict()
        for channel in channels:
            for outcome in _OUTCOMES:
                TOLD.labels(channel.name, outcome)

    @property
    def has_channels(self) -> bool:
        """Whether anybody would be told: without, there is no use in looking for news."""
        return bool(self._queues)

    def tell(self, news: News) -> bool:
        """Queue news for every channel; return whether any has room for it. Never waits and never raises.

        What no channel had room for, or was able to send in the end, is not throttled.
        """
        now = self._clock()
        if now - self._told.get(news.key, -self._throttle) < self._throttle:
            for channel in self._queues:
                TOLD.labels(channel.name, "throttled").inc()
            return False
        message = _Message(news)
        for channel, queue in self._queues.items():
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                TOLD.labels(channel.name, "dropped").inc()
            else:
                message.waiting += 1
        if not message.waiting:
            return False
        self._told[news.key] = now
        self._told.move_to_end(news.key)
        if len(self._told) > _MOST_REMEMBERED:
            self._told.popitem(last=False)
        return True

    def over(self, key: str) -> None:
        """Forget that something was told: should it happen again, that is news."""
        self._told.pop(key, None)

    async def run(self) -> None:
        """Send for ever; each channel by itself, so that one that hangs holds up no other."""
        if not self._queues:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            for channel, queue in self._queues.items():
                group.create_task(self._send_all(channel, queue))

    async def _send(self, channel: Channel, news: News) -> None:
        async with asyncio.timeout(self._patience):
            await channel.send(news)

    async def _send_all(self, channel: Channel, queue: "asyncio.Queue[_Message]") -> None:
        while True:
            message = await queue.get()
            news = message.news
            attempts = AsyncRetrying(
                retry=retry_if_exception_type((NotTakenError, TimeoutError, httpx.TransportError)),
                wait=wait_exponential_jitter(multiplier=self._first_wait, max=_LONGEST_WAIT, jitter=self._first_wait),
                stop=stop_after_attempt(_ATTEMPTS),
                reraise=True,
            )
            try:
                await attempts(self._send, channel, news)
            except Exception as error:  # noqa: BLE001 - whatever the other side does, the next message is sent
                TOLD.labels(channel.name, "failed").inc()
                _log.warning("notification_failed", channel=channel.name, about=news.key, error=type(error).__name__)
            else:
                message.sent = True
                TOLD.labels(channel.name, "sent").inc()
            message.waiting -= 1
            if not message.waiting and not message.sent:
                self.over(news.key)


async def look_alone(database: Database, name: str, look: Callable[[], Awaitable[None]], every: float) -> None:
    """Look for news each `every` seconds, whenever no other process does under this name; for ever."""
    while True:
        try:
            async with database.alone(name) as still_alone:
                while still_alone is not None and await still_alone():
                    await look()
                    await asyncio.sleep(every)
        except (DomainError, OSError) as error:
            _log.warning("news_interrupted", error=type(error).__name__)
        except Exception:  # noqa: BLE001 - the next look may work
            _log.exception("news_failed")
        await asyncio.sleep(every)


def slack(client: httpx.AsyncClient, url_file: Path, service: str) -> Channel:
    """Return the channel to a Slack incoming webhook, whose URL is the file's content."""

    async def send(news: News) -> None:
        text = f"*{service}*: {_escaped(news.summary)}\nDo: {_escaped(news.remedy)}"
        await _post(client, await _content(url_file), json.dumps({"text": text}).encode(), {})

    return Channel("slack", send)


def webhook(client: httpx.AsyncClient, url_file: Path, secret_file: Path | None, service: str) -> Channel:
    """Return the channel to any web address: JSON, signed as Standard Webhooks says where there is a secret."""

    async def send(news: News) -> None:
        now = datetime.now(UTC)
        message = {
            "type": "rapport.news",
            "timestamp": now.isoformat(timespec="seconds"),
            "data": {
                "service": service,
                "key": news.key,
                "summary": news.summary,
                "remedy": news.remedy,
                "facts": dict(news.facts),
            },
        }
        body = json.dumps(message).encode()
        headers = {"webhook-id": f"msg_{uuid7().hex}", "webhook-timestamp": str(int(now.timestamp()))}
        if secret_file is not None:
            headers["webhook-signature"] = signature(await _content(secret_file), headers, body)
        await _post(client, await _content(url_file), body, headers)

    return Channel("webhook", send)


def signature(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return the signature of Standard Webhooks 1.0; a secret is base64, with or without `whsec_` in front."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


async def opened(settings: NotifySettings, service: str, stack: AsyncExitStack) -> Notifier:
    """Return a service's notifier as its settings say; its connections end with the stack."""
    channels: list[Channel] = []
    if settings.notify_slack_url_file or settings.notify_webhook_url_file:
        client = await stack.enter_async_context(httpx.AsyncClient(follow_redirects=False, timeout=_SEND_SECONDS))
        if settings.notify_slack_url_file:
            channels.append(slack(client, settings.notify_slack_url_file, service))
        if settings.notify_webhook_url_file:
            secret = settings.notify_webhook_secret_file
            channels.append(webhook(client, settings.notify_webhook_url_file, secret, service))
    return Notifier(channels, throttle=settings.notify_throttle_seconds)


def _escaped(text: str) -> str:
    """Return text that Slack shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


async def _content(file: Path) -> str:
    return (await asyncio.to_thread(file.read_text, encoding="utf-8")).strip()


async def _post(client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Post a message; the answer's body is of no interest, and never read.

    Raises:
        NotTakenError: the other side is busy or broken.
        ValueError: it refuses the message for good.
    """
    request = client.build_request("POST", url, content=body, headers={"content-type": "application/json", **headers})
    answer = await client.send(request, stream=True)
    await answer.aclose()
    if answer.status_code in {408, 425, 429} or answer.is_server_error:
        raise NotTakenError
    if not answer.is_success:
        raise ValueError(f"refused with {answer.status_code}")
