"""The whole way from the predecessor to Rapport and back: planned, killed, verified, cut over, failed, returned."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from cli.migration.cutover import cutover_state
from cli.migration.plan import Plan
from cli.suite.folder import SuiteFolder
from tests.cli.migration.test_plan import empty, key_file
from tests.support import servers
from tests.support.journey import Journey, Writer
from tests.support.predecessor import build
from tests.support.predecessor_http import old_side
from tests.support.suite import own_suite
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest

# A suite of its own is started, and a dozen commands run one after the other.
pytestmark = pytest.mark.timeout(600)

ANSWERED = "We sent you a new parcel today."
_LONG = 3600.0
_WINDOW = 90
"""Seconds for which the last step is watched: longer than the failure takes to come."""


@asynccontextmanager
async def journey(folder: Path, customers: int, tickets: int) -> AsyncIterator[Journey]:
    """Give a source, an old side and a suite that knows where it is."""
    with old_side() as old:
        told = {"RAPPORT_GATEWAY_PREDECESSOR_URL": old.url, "RAPPORT_GATEWAY_PREDECESSOR_KEY": "the-old-admin-key"}
        async with empty() as url:
            built = await build(url, kind="shared", customers=customers, tickets=tickets)
            own = await asyncio.to_thread(servers.new_folder)
            context = own_suite(own, told=told)
            described = await asyncio.to_thread(context.__enter__)
            try:
                yield Journey(SuiteUnderTest.of(described), built, old, folder)
            finally:
                await asyncio.to_thread(context.__exit__, None, None, None)


async def go(way: Journey, *, rate: str, watch: str, seconds: float) -> None:
    """Go the whole way; the figures are left in the journey."""
    key = str(key_file(way.folder, way.built))
    planned = await way.step("plan", "plan", "--key-file", key, seconds=seconds)
    assert {check["name"] for check in planned.value["checks"] if check["state"] == "red"} == {
        *("source_backup", "backup", "keys", "rollback"),
    }
    expected = way.built.expected
    plan = Plan.load(way.plan)
    moving = sum(shop.counts["tickets"] for shop in plan.shops)
    assert moving == expected.tickets.total()

    run = ("--key-file", key, "--follow", "--rate", rate)
    await way.killed_at(moving // 4, *run, within=seconds)
    await way.killed_at(moving // 2, *run, within=seconds)
    source = await asyncpg.connect(way.built.url)
    agents = Writer(way.built, source)
    try:
        await follow(way, agents, moving, run[:3], seconds)
        await verified(way, "verify", seconds)
        await cut_over_and_back(way, plan, watch)
        await gone_back(way, agents, seconds)
    finally:
        await source.close()


async def follow(way: Journey, agents: Writer, moving: int, run: tuple[str, ...], seconds: float) -> None:
    """Run to the end while the source is in use, then once more for good."""
    slug, ids = max(way.built.expected.ticket_ids.items(), key=lambda item: len(item[1]))
    async with way.running("run", *run) as process:
        for ticket in sorted(ids)[1:5]:
            await agents.answer(ticket)

        async def all_there() -> bool:
            assert process.returncode is None, "it ended by itself"
            return await way.tickets() >= moving

        await eventually(all_there, within=seconds)
        # It was read first: it is heard of by following, or by a page that is read again after a kill.
        await agents.answer(min(ids))

        async def heard() -> bool:
            return await way.heard() == len(agents.wrote)

        await eventually(heard, within=seconds)
        process.terminate()
        _, messages = await process.communicate()
        # It ends in order while it follows, and at once while it still reads: both may happen here.
        assert process.returncode in (0, -signal.SIGTERM), messages.decode()
    await agents.answer(max(ids))
    done = await way.step("finish", "run", *run[:2], "--finish", seconds=seconds)
    assert done.code == 0, done.messages
    assert done.value["state"] == "finished"
    way.figures["shop"] = slug
    way.figures["ticket"] = str(sorted(ids)[7])


async def verified(way: Journey, name: str, seconds: float, *more: str) -> dict[str, str]:
    """Hold both sides against each other: nothing is red. Return the evidence of each finding."""
    page = way.folder / f"{name}.html"
    found = await way.step(name, "verify", "--html", str(page), *more, seconds=seconds)
    red = [
        f"{one['name']}: {one['evidence']} {one.get('details')}"
        for section in found.value["sections"]
        for one in section["findings"]
        if one["state"] == "red"
    ]
    assert red == []
    assert found.code == 0, found.messages
    assert page.stat().st_size > 1000
    return {one["name"]: one["evidence"] for section in found.value["sections"] for one in section["findings"]}


async def cut_over_and_back(way: Journey, plan: Plan, watch: str) -> None:
    """Move all requests under load, let people work, then fail: everything goes back by itself and none is lost."""
    async with way.load([shop.slug for shop in plan.shops]) as load:
        went = await way.step("cutover", "cutover", "--to", "100", "--steps", "10,50,100", "--watch", watch)
        assert went.code == 0, f"{went.output}{went.messages}"
        assert went.value["percent"] == 100
        assert set(load.by("rapport")) == {200}
        assert load.lost == []
        way.figures["requests until all were moved"] = load.answers.total()
        await work(way)
        back = asyncio.create_task(way.step("return", "cutover", "--to", "100", "--watch", f"{_WINDOW}s"))
        folder = SuiteFolder(Path(way.suite.data))

        async def watched() -> bool:
            return int((await cutover_state(folder))["window_seconds"]) == _WINDOW

        async def returned() -> bool:
            return int((await cutover_state(folder))["percent"]) == 0

        await eventually(watched, within=60)
        await way.fails_until(returned, within=60)
        ended = await back
        assert ended.code == 1, ended.output
        failed = {status: count for status, count in load.by("rapport").items() if status != 200}
        asked = len(way.old.asked)

        async def answers() -> bool:
            return len(way.old.asked) > asked + 20

        await eventually(answers, within=20)
        way.figures["requests that failed before the return"] = sum(failed.values())
        way.figures["requests"] = load.answers.total()
        assert failed
        assert set(failed) <= {502, 503, 504}
        assert load.lost == []
    assert {one.headers.get("x-api-key") for one in way.old.asked} == {"the-old-admin-key"}


async def work(way: Journey) -> None:
    """Let an agent answer a ticket and close another one on Rapport's side, by their old ids."""
    slug, ticket = way.figures["shop"], way.figures["ticket"]
    async with way.suite.client(**{"x-api-key": way.key(slug)}) as client:
        seen = await client.get(f"/api/tickets/{ticket}")
        assert seen.status_code == 200, seen.text
        message = {"content": ANSWERED, "from_agent": True, "author_name": "Anna"}
        answered = await client.post(f"/api/tickets/{ticket}/messages", json=message)
        assert answered.status_code in (200, 201), answered.text
        closed = await client.patch(f"/api/tickets/{ticket}", json={"status": "closed"})
        assert closed.status_code == 200, closed.text


async def gone_back(way: Journey, agents: Writer, seconds: float) -> None:
    """Write back what changed since, twice to the same effect, and hold both sides against each other again."""
    back = await way.step("rollback", "rollback", seconds=seconds)
    assert back.code == 0, f"{back.output}{back.messages}"
    assert await agents.holds(ANSWERED) == 1
    again = await way.step("rollback again", "rollback", seconds=seconds)
    assert again.code == 0, again.messages
    assert await agents.holds(ANSWERED) == 1
    rehearsal = way.folder / "rollback.json"
    rehearsal.write_text(back.output, encoding="utf-8")
    planned = await way.step("plan again", "plan", "--rehearsal", str(rehearsal), seconds=seconds)
    assert {check["name"]: check["state"] for check in planned.value["checks"]}["rollback"] == "green"
    evidence = await verified(way, "verify again", seconds, "--only", "rows")
    changed = evidence["what differs because somebody worked on it here is known as such"]
    assert changed.startswith("0 tickets"), "what was written back is the same on both sides"
    surplus = evidence["Rapport has no order that the source has not"]
    assert surplus == evidence["no order is missing"], "all orders, and no word of a surplus one"
    assert UUID(way.figures["ticket"])


async def test_the_whole_way_there_and_back(tmp_path: Path) -> None:
    """Plan, a run that is killed twice with the source in use, green checks, cut-over, failure, return, rollback."""
    async with journey(tmp_path, 60, 300) as way:
        await go(way, rate="150", watch="1s", seconds=100)


@pytest.mark.drill
@pytest.mark.timeout(7200)
async def test_the_whole_way_with_many_tickets(tmp_path: Path) -> None:
    """The same with 2,000 tickets, or as many as RAPPORT_DRILL_TICKETS says, and half as many customers."""
    tickets = int(os.environ.get("RAPPORT_DRILL_TICKETS", "2000"))
    async with journey(tmp_path, tickets // 2, tickets) as way:
        await go(way, rate="0", watch="20s", seconds=_LONG)
        print(json.dumps({"took": way.took, **way.figures}, indent=2))  # noqa: T201 - the figures are what a drill is for
