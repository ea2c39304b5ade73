"""The database is killed and comes back: nothing acknowledged is lost, and everything recovers by itself."""

import asyncio
import contextlib
import secrets
from datetime import UTC, datetime

from cli.suite.provision import SERVICES, create_database, provision_database, provision_roles
from servicekit.database import Database
from servicekit.envelope import KeyEncryptionKeys
from servicekit.errors import DomainError
from servicekit.ids import uuid7
from servicekit.migrate import upgrade
from tests.crm.arrivals import arrival
from tests.crm.conftest import put_together
from tests.crm.fake_tickets import FakeTickets
from tests.crm.zendesk_requests import SECRET, event, headers
from tests.support.servers import RunningServer
from tests.support.tokens import Issuer
from tests.support.waiting import eventually


async def provisioned(server: RunningServer) -> str:
    """Make roles and a migrated database; return the URL of the service's runtime role."""
    passwords = {f"{service}_{kind}": secrets.token_urlsafe(16) for service in SERVICES for kind in ("owner", "app")}
    await provision_roles(server.url, passwords)
    await create_database(server.url, "rapport")
    await provision_database(server.url.replace("/postgres?", "/rapport?"))

    def url(role: str) -> str:
        _, _, rest = server.url.partition("@")
        return f"postgresql://{role}:{passwords[role]}@{rest.replace('/postgres?', '/rapport?')}"

    await upgrade(url("crm_owner"), "services.crm")
    return url("crm_app")


async def test_killed_database_loses_nothing_that_was_acknowledged(own_postgres: RunningServer) -> None:
    """While webhooks come in, Postgres is killed with -9 and started again; what was acknowledged becomes tickets."""
    url = await provisioned(own_postgres)
    tickets, issuer = FakeTickets(), Issuer()
    await tickets.start()
    database = await Database.connect(url, schema="crm")
    process = put_together(database, KeyEncryptionKeys("k", {"k": secrets.token_bytes(32)}), tickets.address, issuer)
    tenant_id = uuid7()
    made = await process.connections.create(
        tenant_id,
        provider_name="zendesk",
        display_name="",
        config={"subdomain": "a"},
        secrets={"webhook_secret": SECRET},
    )
    acknowledged: set[int] = set()
    refused = 0
    stop = asyncio.Event()

    async def send() -> None:
        nonlocal refused
        number = 0
        while not stop.is_set():
            number += 1
            body = event(event_id=f"e-{number}", ticket=str(number))
            try:
                token = made.url.rpartition("/")[2]
                await process.inbox.receive(arrival(token, body, headers(body, datetime.now(UTC))))
                acknowledged.add(number)
            except DomainError:
                refused += 1
                await asyncio.sleep(0.02)

    working = [asyncio.create_task(process.worker.run()), asyncio.create_task(process.refusals.run())]
    sending = asyncio.create_task(send())
    await eventually(lambda: enough(acknowledged, 50))
    await asyncio.to_thread(own_postgres.kill)
    await eventually(lambda: enough(range(refused), 3))
    await asyncio.to_thread(own_postgres.start)
    before = len(acknowledged)
    await eventually(lambda: enough(acknowledged, before + 50), within=20)
    stop.set()
    await sending

    async def all_there() -> bool:
        applied = {int(event_id.rpartition(":")[0].rpartition("-")[2]) for event_id in tickets.ids}
        return acknowledged <= applied

    await eventually(all_there, within=40)
    assert len(tickets.ids) == len(set(tickets.ids))
    assert (await process.deliveries.balance(tenant_id)).adds_up
    for task in working:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await tickets.stop()
    await database.close()


async def enough(things: object, count: int) -> bool:
    """Return whether there are so many."""
    return len(things) >= count  # type: ignore[arg-type]  # anything that has a length
