"""Runs of migrations of small databases of the predecessor into a real suite: killed, followed, and written back."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from rapport.recommendations.v1 import order_service_pb2, order_service_pb2_grpc
from rapport.tickets.v1 import migration_service_pb2 as forms
from rapport.tickets.v1 import ticket_service_pb2, ticket_service_pb2_grpc, ticket_work_pb2

from cli.migration.plan import Plan
from cli.migration.planning import Options, make_plan
from cli.migration.target import Target
from cli.operator import operator_of
from cli.suite.folder import SuiteFolder
from tests.cli.migration.test_plan import empty, key_file
from tests.support.predecessor import Built, build
from tests.support.predecessor_tables import Kind
from tests.support.suite import rapport
from tests.support.waiting import eventually
from tests.support.world import SuiteUnderTest

CUSTOMERS, TICKETS = 60, 300


@dataclass
class Move:
    """A source, the plan of its migration into the shared suite, and the command that runs it."""

    built: Built
    plan: Plan
    file: Path
    key: Path
    data: str

    @property
    def slugs(self) -> list[str]:
        """The shops that something moves to."""
        return [shop.slug for shop in self.plan.shops if shop.counts]

    def arguments(self, *more: str) -> list[str]:
        """Return the arguments of a run."""
        told = ("--source", self.built.url, "--key-file", str(self.key), "--data", self.data, "--json")
        return ["migrate", "run", str(self.file), *told, *more]

    async def run(self, *more: str) -> dict[str, Any]:
        """Run to the end and return what it says."""
        ran = await asyncio.to_thread(rapport, *self.arguments(*more))
        assert ran.code == 0, f"{ran.output}\n{ran.messages}"
        done: dict[str, Any] = ran.value
        return done

    @asynccontextmanager
    async def running(self, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Give a run that goes on, and make sure that it ends."""
        command = [sys.executable, "-m", "cli.main", *self.arguments(*more)]
        environment = {name: value for name, value in os.environ.items() if name != "RAPPORT_DATA"}
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.DEVNULL}
        process = await asyncio.create_subprocess_exec(*command, env=environment, **pipes)  # type: ignore[arg-type]
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def checksums(self, slug: str) -> dict[str, forms.TicketChecksum]:
        """Return the checksums of a shop's imported tickets."""
        found: dict[str, forms.TicketChecksum] = {}
        async with operator_of(SuiteFolder(Path(self.data))) as operator:
            target, token = Target(operator, batch=1, rate=0), ""
            while True:
                request = forms.ChecksumTicketsRequest(page_size=200, page_token=token)
                page = await target.call(slug, target.tickets.ChecksumTickets, request)
                found |= {one.legacy_id: one for one in page.checksums}
                token = page.next_page_token
                if not token:
                    return found

    async def moved(self) -> int:
        """Return how many tickets are there."""
        try:
            return sum([len(await self.checksums(slug)) for slug in self.slugs])
        except Exception:  # noqa: BLE001 - the shops are not there yet
            return 0

    @property
    def expected(self) -> int:
        """How many tickets the plan says."""
        return sum(shop.counts.get("tickets", 0) for shop in self.plan.shops)


def private(file: Path) -> str:
    """Return what a file holds that only its owner can read."""
    assert file.stat().st_mode & 0o777 == 0o600
    return file.read_text(encoding="utf-8")


@asynccontextmanager
async def moving(suite: SuiteUnderTest, folder: Path, kind: Kind = "shared") -> AsyncIterator[Move]:
    """Give a small source and its plan, with shops of names that no other test has."""
    async with empty() as url:
        built = await build(url, kind=kind, customers=CUSTOMERS, tickets=TICKETS)
        suffix = uuid4().hex[:8]
        rules = folder / "rules.yaml"
        shops = {shop.slug: f"{shop.slug[:30]}-{suffix}" for shop in built.shops}
        rules.write_text(
            json.dumps(
                {
                    "stores": {store: shops[slug] for store, slug in built.stores.items() if slug in shops},
                    "tenants": {str(shop.tenant_id): shops[shop.slug] for shop in built.shops},
                }
            ),
            encoding="utf-8",
        )
        key = key_file(folder, built)
        data = SuiteFolder(Path(suite.data))
        plan = await make_plan(data, Options(url=url, rules=rules, key_file=key), lambda *_: None)
        file = folder / "plan.json"
        file.write_text(plan.to_json(), encoding="utf-8")
        yield Move(built, plan, file, key, suite.data)


async def test_a_run_that_is_killed_twice_goes_on_and_moves_everything_once(
    suite: SuiteUnderTest, tmp_path: Path
) -> None:
    """In the end there is what the plan says, and a run more changes nothing."""
    async with moving(suite, tmp_path) as move:
        for part in (3, 2):
            async with move.running("--batch", "10", "--rate", "150") as process:
                wanted = move.expected // part

                async def far(wanted: int = wanted) -> bool:
                    return await move.moved() >= wanted

                await eventually(far, within=40)
                process.send_signal(signal.SIGKILL)
                assert await process.wait() == -signal.SIGKILL
        done = await move.run()
        assert await move.moved() == move.expected
        again = await move.run()
        assert again["shops"] == done["shops"]
        handed = json.loads(private(Path(done["handover"])))
        for shop in move.plan.shops:
            assert handed[shop.slug]["api_key"].startswith("rpk_")
            assert len(handed[shop.slug].get("connections", {})) == len(shop.connections)


async def test_a_shop_of_others_is_not_taken_and_a_new_state_file_revokes_nothing(
    suite: SuiteUnderTest, tmp_path: Path
) -> None:
    """Rows go into a shop that is there only by the operator's word; keys and addresses that were handed over stay."""
    async with moving(suite, tmp_path) as move:
        there, other = move.slugs[:2]
        told = ("--slug", there, "--name", "Somebody's", "--data", move.data)
        made = await asyncio.to_thread(rapport, "tenant", "create", *told, "--json")
        assert made.code == 0, made.messages
        refused = await asyncio.to_thread(rapport, *move.arguments())
        assert refused.value["error"]["reason"] == "SHOP_EXISTS"
        done = await move.run("--into", there)
        handover, state = Path(done["handover"]), move.file.with_name("plan.json.state")
        handed = json.loads(private(handover))
        handover.unlink()  # noqa: ASYNC240 - a small file
        state.unlink()
        again = await move.run("--into", there)
        assert again["handover"] == ""
        assert there not in handed or "api_key" not in handed[there]
        async with suite.client(**{"x-api-key": handed[other]["api_key"]}) as client:
            assert (await client.get("/api/tickets")).status_code == 200


@pytest.mark.parametrize("how", ["logical", "delta"])
async def test_what_changes_meanwhile_follows(suite: SuiteUnderTest, tmp_path: Path, how: str) -> None:
    """A new message comes by itself, what was deleted is found at the end, and nothing is left at the source."""
    told = ("--delta",) if how == "delta" else ()
    async with moving(suite, tmp_path) as move:
        source = await asyncpg.connect(move.built.url)
        table, messages = move.built.tables["tickets"], move.built.tables["ticket_messages"]
        async with move.running("--follow", *told) as process:

            async def all_there() -> bool:
                return await move.moved() >= move.expected

            await eventually(all_there, within=60)
            slug = max(move.plan.shops, key=lambda shop: shop.counts.get("tickets", 0)).slug
            before = await move.checksums(slug)
            notes = move.built.tables["ticket_notes"]
            # Looking again reaches a little back: it finds what is missing in a ticket of the last minutes by itself.
            recent = "now() AT TIME ZONE 'UTC' - interval '1 hour'"
            old = await source.fetch(
                f"SELECT id FROM {table} t WHERE greatest(created_at, updated_at) < {recent}"  # noqa: S608
                f" AND NOT EXISTS (SELECT FROM {notes} n WHERE n.ticket_id = t.id AND n.created_at > {recent})"
            )
            answered, emptied = sorted(before.keys() & {str(row["id"]) for row in old})[:2]
            await source.execute(
                f"INSERT INTO {messages} (id, ticket_id, from_agent, content, author_name, created_at)"  # noqa: S608
                " VALUES (gen_random_uuid(), $1, false, 'Are you there?', 'Ann', now() AT TIME ZONE 'UTC')",
                answered,
            )

            async def heard() -> bool:
                return (await move.checksums(slug))[answered].message_count == before[answered].message_count + 1

            # Looking again happens twice a minute.
            await eventually(heard, within=60)
            if how == "logical":
                await new_customers_follow(move, source, slug)
            process.send_signal(signal.SIGTERM)
            output, _ = await process.communicate()
            assert json.loads(output)["state"] == "following"
        await source.execute(f"DELETE FROM {messages} WHERE ticket_id = $1", emptied)  # noqa: S608
        names = ("combined_sales", "fact_customer_current", "fact_customer_history")
        sales, facts, history = (move.built.tables[name] for name in names)
        # Of one shop only, and neither of the first nor of the last orders, which make no sense by intention.
        order = await source.fetchval(
            f"SELECT s.order_id FROM {sales} s JOIN {facts} f ON f.customer_id = s.customer_id::text"  # noqa: S608
            f" JOIN {history} p ON p.customer_id = f.customer_id AND p.store_id = f.store_id WHERE f.store_id = $1"
            " AND s.quantity > 0 ORDER BY s.order_id OFFSET 5 LIMIT 1",
            move.plan.shop(slug).stores[0],
        )
        await source.execute(f"UPDATE {sales} SET line_item_refunds = 1 WHERE order_id = $1", order)  # noqa: S608
        await source.execute(f"UPDATE {table} SET subject = 'Changed' WHERE id = $1", answered)  # noqa: S608
        done = await move.run("--finish", *told)
        assert done["state"] == "finished"
        # Looking again reaches a little back, so that it may have found the other one by itself.
        assert done["different"] in ({1, 2} if how == "delta" else {1})
        assert (await move.checksums(slug))[emptied].message_count == 0
        assert float(await refunded(move, slug, order)) >= 1
        again = await move.run("--finish", *told)
        assert again["different"] == 0
        assert not await source.fetchval(
            "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
        )
        assert not await source.fetchval("SELECT count(*) FROM pg_publication")
        await source.close()


async def refunded(move: Move, slug: str, order: str) -> str:
    """Return what was paid back for an order."""
    async with operator_of(SuiteFolder(Path(move.data))) as operator:
        orders = operator.stub(order_service_pb2_grpc.OrderServiceStub, "recommendations")
        request = order_service_pb2.GetOrderRequest(order_id=order)
        found = await orders.GetOrder(request, metadata=await operator.metadata(slug))
    return str(found.refunded_amount or 0)


async def new_customers_follow(move: Move, source: "asyncpg.Connection[Any]", slug: str) -> None:
    """Open a ticket for a customer of whom the source did not know when the run began, and see it arrive."""
    customers, tickets = move.built.tables["fact_customer_current"], move.built.tables["tickets"]
    ident, store = uuid4(), move.plan.shop(slug).stores[0]
    customer = "99000000000001"
    await source.execute(f"INSERT INTO {customers} (customer_id, store_id) VALUES ($1, $2)", customer, store)  # noqa: S608
    await source.execute(
        f"INSERT INTO {tickets} (id, ticket_number, customer_id, channel, status, priority, created_at)"  # noqa: S608
        " VALUES ($1, 'T-900001', $2, 'email', 'open', 'normal', now() AT TIME ZONE 'UTC')",
        ident,
        customer,
    )

    async def there() -> bool:
        return str(ident) in await move.checksums(slug)

    await eventually(there, within=30)


async def test_what_changed_here_is_written_back_once_and_what_cannot_be_is_told(
    suite: SuiteUnderTest, tmp_path: Path
) -> None:
    """A reply, a note, a status and a new ticket reach the source with their ids; a pin cannot, and says so."""
    async with moving(suite, tmp_path) as move:
        await move.run()
        slug = max(move.plan.shops, key=lambda shop: shop.counts.get("tickets", 0)).slug
        first, second = sorted(await move.checksums(slug))[:2]
        source = await asyncpg.connect(move.built.url)
        tables = move.built.tables
        # Of one shop only: customers of two are among the others.
        customer, store = "99000000000002", move.plan.shop(slug).stores[0]
        facts = tables["fact_customer_current"]
        await source.execute(f"INSERT INTO {facts} (customer_id, store_id) VALUES ($1, $2)", customer, store)  # noqa: S608
        async with operator_of(SuiteFolder(Path(suite.data))) as operator:
            tickets = operator.stub(ticket_service_pb2_grpc.TicketServiceStub, "tickets")
            metadata = await operator.metadata(slug)
            reply = ticket_service_pb2.CreateMessageRequest(
                ticket=first, content="It is on its way.", from_agent=True, author_name="Kim"
            )
            await tickets.CreateMessage(reply, metadata=metadata)
            note = ticket_service_pb2.CreateNoteRequest(ticket=first, content="Promised for Friday.", author_name="Kim")
            await tickets.CreateNote(note, metadata=metadata)
            change = ticket_service_pb2.UpdateTicketRequest(
                ticket=ticket_service_pb2.TicketChange(id=first, priority="urgent"),
                update_mask=FieldMask(paths=["priority"]),
            )
            await tickets.UpdateTicket(change, metadata=metadata)
            await tickets.PinTicket(ticket_work_pb2.PinTicketRequest(ticket=second), metadata=metadata)
            opened = ticket_service_pb2.CreateTicketRequest(
                customer_id=customer, channel="chat", subject="New", initial_message="Hello?"
            )
            new = await tickets.CreateTicket(opened, metadata=metadata)
        told = ("--source", move.built.url, "--data", move.data, "--json")
        tried = await asyncio.to_thread(rapport, "migrate", "rollback", str(move.file), *told, "--dry-run")
        done = await asyncio.to_thread(rapport, "migrate", "rollback", str(move.file), *told)
        assert done.code == 0, done.messages
        assert done.value["rollback"] == {"tickets": 1, "fields": 1, "messages": 2, "notes": 1}
        assert tried.value["rollback"] == done.value["rollback"]
        assert {"what": "pinned", "reason": "the predecessor has no such mark", "count": 1, "tickets": [second]} in (
            done.value["cannot"]
        )
        query = f"SELECT priority FROM {tables['tickets']} WHERE id = $1"  # noqa: S608
        assert await source.fetchval(query, first) == "urgent"
        query = f"SELECT content FROM {tables['ticket_messages']} WHERE ticket_id = $1"  # noqa: S608
        assert await source.fetchval(query, new.id) == "Hello?"
        await source.close()
        again = await asyncio.to_thread(rapport, "migrate", "rollback", str(move.file), *told)
        assert again.value["rollback"] == {"tickets": 0, "fields": 0, "messages": 0, "notes": 0}
        finished = await move.run("--finish")
        assert finished["different"] == 2
        assert (await move.run("--finish"))["different"] == 0
