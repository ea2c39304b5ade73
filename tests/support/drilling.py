"""A drill: a steady load on two shops, something that goes wrong meanwhile, and what must hold all the time.

The load are people who read (inbox, ticket, explanation of its place) and helpdesks that send webhooks. Everything that
comes back is looked at: nothing of another shop may be in it, the inbox must be in the order of its scores, and an
explanation must add up. Afterwards every webhook that was acknowledged must be a ticket, exactly once.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import httpx

from tests.support.suite import rapport
from tests.support.waiting import eventually
from tests.support.world import MARKER, Shop, SuiteUnderTest, new_shop, send_webhook, zendesk_event

SLOW = 1.0
"""Seconds after which an answer is as bad as none to somebody who waits for it."""
PAUSE = 0.05
"""Seconds between two requests of one reader."""
SENDING = 0.05
"""Seconds between two webhooks of one helpdesk."""
PARTS = ("processed", "superseded", "duplicate", "quarantined", "pending", "dead", "discarded")


@dataclass(frozen=True)
class Answer:
    """When a request was sent (monotonic seconds), how long it took, and its status or what broke."""

    sent: float
    took: float
    status: str

    @property
    def bad(self) -> bool:
        """Whether a person would say that it did not work."""
        return not self.status.startswith("2") or self.took > SLOW


@dataclass
class Outcome:
    """What came of a drill.

    Attributes:
        name: what was done.
        seconds: how long it lasted.
        reads: requests of people, and how many of them failed or took longer than `SLOW`.
        failed: answers that were no success, by status.
        slow: successes that took longer than `SLOW`.
        longest_ms: the longest answer.
        acknowledged: webhooks that were acknowledged.
        repeated: attempts that helpdesks had to repeat, by status.
        recovery_seconds: from the end of the fault (for a death: from the death) until nothing failed or was slow any
            more, and a webhook sent after the end stood in the inbox.
        remarks: further figures.
    """

    name: str
    seconds: float = 0.0
    reads: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    slow: int = 0
    longest_ms: int = 0
    acknowledged: int = 0
    repeated: dict[str, int] = field(default_factory=dict)
    recovery_seconds: float = 0.0
    remarks: dict[str, Any] = field(default_factory=dict)


class Load:
    """The steady load on two shops, with so many readers in each."""

    def __init__(self, suite: SuiteUnderTest, shops: list[Shop], *, readers: int = 1) -> None:
        self._readers = readers
        self.suite = suite
        self.shops = shops
        self.answers: list[Answer] = []
        self.attempts: Counter[str] = Counter()
        self.acknowledged: dict[str, list[str]] = {shop.slug: [] for shop in shops}
        self._stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep up the load while the block runs; at its end the last webhooks are still acknowledged."""
        tasks = [asyncio.create_task(self._read(shop)) for shop in self.shops for _ in range(self._readers)]
        tasks += [asyncio.create_task(self._send(shop)) for shop in self.shops]
        try:
            await eventually(self._something_of_everything, within=30)
            yield
        finally:
            self._stop.set()
            await asyncio.gather(*tasks)

    async def _something_of_everything(self) -> bool:
        return all(len(sent) > 1 for sent in self.acknowledged.values()) and len(self.answers) > 10

    async def _read(self, shop: Shop) -> None:
        """Open the inbox, a ticket, its explanation and its draft, over and over, as somebody at a desk."""
        others = [other.marker for other in self.shops if other is not shop]
        async with self.suite.client(**{"x-api-key": shop.api_key}) as client:
            while not self._stop.is_set():
                found = await self._asked(client, "/api/tickets?status=open&smart_order=true&limit=20", others)
                cards = found["tickets"] if found else []
                scores = [card["smart_score"] for card in cards]
                assert scores == sorted(scores, reverse=True), f"not in order: {scores}"
                if cards:
                    path = f"/api/tickets/{cards[0]['id']}"
                    await self._asked(client, path, others)
                    told = await self._asked(client, f"{path}/score-breakdown", others)
                    assert not told or abs(sum(told["components"].values()) - told["total_score"]) < 1e-6, told
                    await self._asked(client, f"/api/ai/tickets/{cards[0]['id']}/draft-response", others)
                await self._asked(client, "/v1/connections", others)

    async def _asked(self, client: httpx.AsyncClient, path: str, others: list[str]) -> Any:
        """Ask once; return the answer's JSON when it is a success."""
        sent = time.monotonic()
        try:
            answer = await client.get(path)
        except httpx.TransportError as error:
            self.answers.append(Answer(sent, time.monotonic() - sent, type(error).__name__))
            await asyncio.sleep(PAUSE)
            return None
        self.answers.append(Answer(sent, time.monotonic() - sent, str(answer.status_code)))
        assert not any(other in answer.text for other in others), f"{path} shows another shop's content"
        await asyncio.sleep(PAUSE)
        return answer.json() if answer.is_success else None

    async def _send(self, shop: Shop) -> None:
        """Send one webhook after the other; what is not acknowledged is sent again, byte for byte."""
        number = 0
        async with self.suite.client() as client:
            while not self._stop.is_set():
                number += 1
                await self.delivered(client, shop, f"w-{number}")
                await asyncio.sleep(SENDING)

    async def delivered(self, client: httpx.AsyncClient, shop: Shop, external_id: str, within: float = 90.0) -> None:
        """Have a webhook of a new ticket acknowledged, signed anew for each attempt as helpdesks do."""
        body = zendesk_event(shop, external_id, subject=f"Ticket {external_id} ends here")

        async def taken() -> bool:
            try:
                status = (await send_webhook(client, shop, body)).status_code
            except httpx.TransportError as error:
                self.attempts[type(error).__name__] += 1
                return False
            if status >= 300:
                self.attempts[str(status)] += 1
            return status < 300

        await eventually(taken, within=within)
        self.acknowledged[shop.slug].append(external_id)

    async def webhook_in_the_inbox(self, external_id: str, within: float = 90.0) -> None:
        """Have a webhook of the first shop acknowledged, and wait until its ticket is found."""
        shop = self.shops[0]
        async with self.suite.client(**{"x-api-key": shop.api_key}) as client:
            await self.delivered(client, shop, external_id, within)

            async def there() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    answer = await client.get("/api/tickets?limit=100")
                    return answer.is_success and f"Ticket {external_id} ends here" in answer.text
                return False

            await eventually(there, within=within)

    async def everything_is_there_once(self, within: float = 90.0) -> dict[str, int]:
        """Compare what was acknowledged with the tickets and the balance of each shop; return the sum of balances.

        What was set aside (quarantined) was refused, and came again: it is no ticket of its own.
        """
        total: Counter[str] = Counter()
        for shop in self.shops:
            async with self.suite.client(**{"x-api-key": shop.api_key}) as client:
                balance = await settled(client, within)
                found = await tickets_of(client)
            subjects = Counter(ticket["subject"].split()[1] for ticket in found)
            assert subjects == Counter(self.acknowledged[shop.slug])
            assert {ticket["message_count"] for ticket in found} == {1}
            assert balance["admitted"] == sum(balance[part] for part in PARTS)
            assert (balance["dead"], balance["discarded"]) == (0, 0)
            assert balance["admitted"] - balance["duplicate"] - balance["quarantined"] == len(found)
            total.update(balance)
        return dict(total)


async def settled(client: httpx.AsyncClient, within: float = 90.0) -> dict[str, int]:
    """Wait until nothing is pending; return the balance."""

    async def empty() -> dict[str, int] | None:
        with contextlib.suppress(httpx.TransportError):
            answer = await client.get("/v1/deliveries:balance")
            if answer.is_success:
                balance = {name: int(count) for name, count in answer.json().items()}
                return None if balance["pending"] else balance
        return None

    return await eventually(empty, within=within)


async def tickets_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Read all tickets over all pages."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        answer = await client.get("/v1/tickets", params={"page_size": 200, "page_token": token})
        assert answer.status_code == 200, answer.text
        found += answer.json()["tickets"]
        token = answer.json()["next_page_token"]
        if not token:
            return found


async def opened(suite: SuiteUnderTest, name: str) -> Shop:
    """Open a shop, as soon as every service is there again after the drill before."""

    async def shop() -> Shop | None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            return await new_shop(suite, name)
        return None

    return await eventually(shop, within=60)


async def opened_by_command(suite: SuiteUnderTest, name: str) -> Shop:
    """Open a shop as operators do, by commands, which show the operator's certificate."""

    async def run(*arguments: str, text: str = "") -> Any:
        ran = await asyncio.to_thread(rapport, *arguments, "--json", "--data", suite.data, text=text)
        assert ran.code == 0, ran.messages
        return ran.value

    slug = f"{name}-{uuid4().hex[:8]}"
    shop = Shop(slug=slug, marker=f"{MARKER}-{slug}", webhook_secret=uuid4().hex)
    shop.ids["customer"] = "customer-1"
    shop.api_key = (await run("tenant", "create", "--slug", slug, "--name", shop.marker))["api_key"]
    connect = ("connection", "create", "--tenant", slug, "--provider", "zendesk", "--config", "subdomain=acme")
    connected = await run(*connect, "--secret-stdin", "webhook_secret", text=shop.webhook_secret)
    shop.webhook_url = connected["webhook_url"]
    return shop


Fault = Callable[[Load], AbstractAsyncContextManager[None]]
"""What goes wrong while its block runs; it begins when the block is entered and is over when it is left."""


async def drilled(
    suite: SuiteUnderTest,
    name: str,
    fault: Fault,
    *,
    seconds: float,
    recovery: float = 60.0,
    calm: float = 1.0,
    opening: Callable[[SuiteUnderTest, str], Awaitable[Shop]] | None = None,
    settling: float = 90.0,
) -> Outcome:
    """Do one drill and return what came of it.

    Args:
        suite: the suite that it is done to.
        name: the row's name in the table.
        fault: what goes wrong.
        seconds: how long it stays so; 0 for what is over at once, as a death.
        recovery: how many seconds recovery may take at most.
        calm: how long all must be well before and after.
        opening: how a shop is opened; `opened` by default.
        settling: how many seconds the queues may take to be empty, after all is well.
    """
    opening = opening or opened
    load = Load(suite, [await opening(suite, "drill"), await opening(suite, "other")])
    outcome = Outcome(name)
    async with load.running():
        await well(load, calm)
        load.answers.clear()
        load.attempts.clear()
        begun = time.monotonic()
        async with fault(load):
            await asyncio.sleep(seconds)
        over = time.monotonic() if seconds else begun
        await load.webhook_in_the_inbox("after", within=recovery)
        seen = time.monotonic()
        last = await well(load, calm, within=recovery)
        outcome.recovery_seconds = round(max(0.0, max(seen, last) - over), 2)
    outcome.seconds = seconds
    outcome.remarks["balance"] = await load.everything_is_there_once(settling)
    outcome.remarks["queue_empty_after_seconds"] = round(time.monotonic() - over, 1)
    outcome.reads = len(load.answers)
    outcome.failed = dict(Counter(answer.status for answer in load.answers if not answer.status.startswith("2")))
    outcome.slow = sum(answer.bad and answer.status.startswith("2") for answer in load.answers)
    outcome.longest_ms = round(max(answer.took for answer in load.answers) * 1000)
    outcome.acknowledged = sum(map(len, load.acknowledged.values()))
    outcome.repeated = dict(load.attempts)
    assert outcome.recovery_seconds < recovery
    return outcome


async def well(load: Load, seconds: float, within: float = 60.0) -> float:
    """Wait until no answer has been bad for so long; return when the last bad one ended (monotonic seconds)."""
    begun = time.monotonic()

    async def calm() -> float | None:
        ends = [answer.sent + answer.took for answer in load.answers if answer.bad]
        last = max([begun, *ends]) if ends else begun
        now = time.monotonic()
        fresh = any(answer.sent > now - seconds for answer in load.answers)
        return max(ends, default=0.0) or 1e-9 if fresh and now - last >= seconds else None

    return await eventually(calm, within=within)


def once(act: Callable[[], Awaitable[object]]) -> Fault:
    """Return the fault that is an act, over as soon as it is done."""

    @contextlib.asynccontextmanager
    async def fault(_load: Load) -> AsyncIterator[None]:
        await act()
        yield

    return fault


def during(begin: Callable[[], Awaitable[object]], end: Callable[[], Awaitable[object]]) -> Fault:
    """Return the fault that is begun and ended by acts."""

    @contextlib.asynccontextmanager
    async def fault(_load: Load) -> AsyncIterator[None]:
        await begin()
        try:
            yield
        finally:
            await end()

    return fault


class Report:
    """The outcomes of drills, written to a file after each, so that a broken run tells what it saw.

    What runs before wrote there stays, but for drills that are done again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome, and show it in the output of the run."""
        told = asdict(outcome)
        print(json.dumps(told))  # noqa: T201 - figures
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = json.loads(self._path.read_text(encoding="utf-8"))["drills"] if self._path.exists() else []
        drills = [one for one in kept if one["name"] != outcome.name] + [told]
        self._path.write_text(json.dumps({"drills": drills}, indent=1) + "\n", encoding="utf-8")
