"""A tenant's life to its end: suspended and back, deleted and back, exported, erased without a trace, and reported."""

import asyncio
import hashlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import httpx
import pytest

from cli.suite.names import SERVICES
from tests.support import servers
from tests.support.contents import dump, logs, superuser, valkey_content
from tests.support.suite import own_suite, rapport
from tests.support.waiting import eventually
from tests.support.world import (
    Shop,
    SuiteUnderTest,
    call,
    furnish,
    key_token,
    new_shop,
    operator_token,
    send_webhook,
    zendesk_event,
)

# An erasure waits for the end of a tenant's last calls, and these tests share the machine with many others.
pytestmark = pytest.mark.timeout(300)

SETTLE_SECONDS = 3
REGISTRY = "rapport.tenant.v1.TenantService"
KEPT = {"tenant.tenants", "tenant.tenant_index", "tenant.erasures", "tenant.erasure_counts"}


@pytest.fixture(scope="module")
def mortal() -> Iterator[SuiteUnderTest]:
    """A suite of its own, since its processes are killed; last calls are waited for a few seconds only."""
    told = {"RAPPORT_TENANT_ERASE_SETTLE_SECONDS": str(SETTLE_SECONDS)}
    with own_suite(servers.new_folder(), told=told) as described:
        yield SuiteUnderTest.of(described)


@pytest.fixture
async def database(mortal: SuiteUnderTest) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sees the rows of every tenant."""
    connection = await superuser(mortal)
    yield connection
    await connection.close()


async def registry(suite: SuiteUnderTest, method: str, shop: Shop) -> Any:
    """Call a method of the registry that takes a tenant."""
    return await call(suite.grpc["tenant"], f"{REGISTRY}/{method}", {"tenant": shop.slug}, await operator_token(suite))


async def refusal(suite: SuiteUnderTest, method: str, shop: Shop) -> str:
    """Call a method of the registry that refuses, and return the reason."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await registry(suite, method, shop)
    problem = dict(refused.value.trailing_metadata() or ())["problem-bin"]
    return str(json.loads(problem)["reason"])


async def command(suite: SuiteUnderTest, *arguments: str) -> Any:
    """Run `rapport tenant …` on the suite and return what it prints as JSON."""
    ran = await asyncio.to_thread(rapport, "tenant", *arguments, "--json", "--data", suite.data)
    return ran.value if ran.code == 0 else {**ran.value, "code": ran.code}


async def tables(database: asyncpg.Connection) -> list[str]:
    """Return every table with a tenant id."""
    found = await database.fetch(
        "SELECT c.relnamespace::regnamespace || '.' || c.relname AS name FROM pg_class c JOIN pg_attribute a"
        " ON a.attrelid = c.oid AND a.attname = 'tenant_id' WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND c.relnamespace::regnamespace::text = ANY ($1)",
        list(SERVICES),
    )
    return sorted(row["name"] for row in found)


async def rows_of(database: asyncpg.Connection, tenant_id: str) -> dict[str, tuple[int, str]]:
    """Return for each table how many rows a tenant has in it and the checksum of all of them, bytes included.

    Without the time of a key's last use, which is written down seconds after the use.
    """
    seen = {}
    for table in await tables(database):
        row = await database.fetchrow(
            "SELECT count(*) AS count, md5(coalesce(string_agg(content, '|' ORDER BY content), '')) AS checksum"  # noqa: S608 - from the catalogue
            " FROM (SELECT (to_jsonb(t) - 'last_use_time')::text AS content"
            f" FROM {table} AS t WHERE tenant_id = $1) AS rows",
            UUID(tenant_id),
        )
        assert row is not None
        seen[table] = (int(row["count"]), str(row["checksum"]))
    return seen


async def settled_rows(database: asyncpg.Connection, tenant_id: str) -> dict[str, tuple[int, str]]:
    """Return the rows of a tenant once the work in the background has come to rest."""
    seen: list[dict[str, tuple[int, str]]] = []

    async def unchanged() -> bool:
        seen.append(await rows_of(database, tenant_id))
        await asyncio.sleep(0.5)
        return len(seen) > 4 and all(one == seen[-1] for one in seen[-4:])

    await eventually(unchanged, within=30)
    return seen[-1]


async def answers(client: httpx.AsyncClient, shop: Shop, token: str) -> tuple[int, int, int]:
    """Return the statuses that the shop's key, a token of it and its webhook get through the gateway."""
    path = f"/v1/tickets/{shop.ids['ticket']}"
    by_key = await client.get(path, headers={"x-api-key": shop.api_key})
    by_token = await client.get(path, headers={"authorization": f"Bearer {token}"})
    by_webhook = await send_webhook(client, shop, zendesk_event(shop, "501"))
    return by_key.status_code, by_token.status_code, by_webhook.status_code


async def another_key(suite: SuiteUnderTest, shop: Shop) -> str:
    """Make another key of the shop and return its text."""
    request = {"api_key": {"name": "second", "scopes": ["tickets.read"]}}
    token = await operator_token(suite, shop.slug)
    made: Any = await call(suite.grpc["tenant"], "rapport.tenant.v1.ApiKeyService/CreateApiKey", request, token)
    return str(made.key)


async def seconds_until(ask: Callable[[], Awaitable[bool]]) -> float:
    """Return how long something took to come true."""
    started = time.monotonic()
    await eventually(ask, within=10)
    return time.monotonic() - started


async def erased(suite: SuiteUnderTest, shop: Shop, within: float = 60) -> Any:
    """Wait for the end of an erasure and return its report."""

    async def report() -> Any:
        found = await registry(suite, "GetErasure", shop)
        return found if found.HasField("complete_time") else None

    return await eventually(report, within=within)


async def test_suspending_and_resuming_take_effect_within_a_second(mortal: SuiteUnderTest) -> None:
    """For keys (one that Envoy has a token of, one that it first hears of now), tokens and webhooks; deleting too."""
    shop = await furnish(mortal, await new_shop(mortal, "sleeper"))
    token = await key_token(mortal, shop.api_key)
    second = await another_key(mortal, shop)
    figures = {}
    async with mortal.client() as client:
        assert [status < 300 for status in await answers(client, shop, token)] == [True] * 3
        for act, served in (
            ("SuspendTenant", False),
            ("ResumeTenant", True),
            ("DeleteTenant", False),
            ("UndeleteTenant", True),
        ):
            await registry(mortal, act, shop)

            async def everywhere(served: bool = served) -> bool:
                fresh = await client.get("/v1/tickets", headers={"x-api-key": second})
                found = [*await answers(client, shop, token), fresh.status_code]
                return all((status < 300) == served for status in found)

            figures[act] = await seconds_until(everywhere)
    told = {act: round(seconds, 2) for act, seconds in figures.items()}
    print(f"seconds until it held for keys, tokens and webhooks: {told}")  # noqa: T201 - the figures of the drill
    assert max(figures.values()) < 1.0, figures


async def test_an_undone_deletion_leaves_everything_working(mortal: SuiteUnderTest) -> None:
    """After the way back the inbox, the advice, the connection and new webhooks are as before."""
    shop = await furnish(mortal, await new_shop(mortal, "lazarus"))
    await registry(mortal, "DeleteTenant", shop)
    async with mortal.client(**{"x-api-key": shop.api_key}) as client:

        async def refused() -> bool:
            return (await client.get("/api/tickets")).status_code == 401

        await eventually(refused)
        back = await registry(mortal, "UndeleteTenant", shop)
        assert (back.state, back.HasField("purge_time"), back.HasField("delete_time")) == (1, False, False)

        async def served() -> bool:
            return (await client.get("/api/tickets")).status_code == 200

        await eventually(served)
        assert (await client.get(f"/api/ai/tickets/{shop.ids['ticket']}/draft-response")).status_code == 200
        assert (await send_webhook(client, shop, zendesk_event(shop, "502", subject="Anything new?"))).status_code < 300

        async def both() -> bool:
            return len((await client.get("/api/tickets?status=open")).json()["tickets"]) == 2

        await eventually(both)


async def test_an_export_holds_everything_but_secrets(
    mortal: SuiteUnderTest, database: asyncpg.Connection, tmp_path: Path
) -> None:
    """Each table is a file with as many lines as it has rows; payloads are opened, secrets left out and named."""
    shop = await furnish(mortal, await new_shop(mortal, "leaver"))
    before = await settled_rows(database, shop.tenant_id)
    manifest = await command(mortal, "export", shop.slug, "--to", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest
    written = {f"{one['service']}.{one['table']}": one for one in manifest["tables"]}
    for one in written.values():
        content = (tmp_path / "out" / one["file"]).read_bytes()
        assert (len(content.splitlines()), len(content)) == (one["rows"], one["bytes"])
        assert hashlib.sha256(content).hexdigest() == one["sha256"]
        assert all(json.loads(line)["tenant_id"] == shop.tenant_id for line in content.splitlines())
    for name, (count, _) in before.items():
        # The export itself stands in the audit log.
        if name.partition(".")[2] not in {
            "erased_rows",
            "tenant_index",
            "api_key_index",
            "domain_index",
            "audit_entries",
        }:
            assert written[name]["rows"] == count, name
    assert written["crm.connection_secrets"]["left_out"] == ["sealed"]
    assert written["crm.data_keys"]["left_out"] == ["wrapped"]
    assert "key_hash" in written["tenant.api_keys"]["left_out"]
    payload = json.loads((tmp_path / "out" / "crm" / "deliveries.jsonl").read_text().splitlines()[0])["payload"]
    assert shop.marker in payload["body"]
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.json*"))
    for secret in (shop.api_key, shop.webhook_secret, shop.webhook_url.rsplit("/", 1)[1]):
        assert secret.encode() not in everything
    again = await command(mortal, "export", shop.slug, "--to", str(tmp_path / "out"))
    assert again["error"]["reason"] == "FOLDER_NOT_EMPTY"


async def test_an_erased_shop_leaves_no_trace_and_another_one_is_untouched(
    mortal: SuiteUnderTest, database: asyncpg.Connection
) -> None:
    """Its words are in no column, key of Valkey or log; the report counts what was there; the slug stays taken."""
    shop = await furnish(mortal, await new_shop(mortal, "ghost"))
    other = await furnish(mortal, await new_shop(mortal, "bystander"))
    assert await refusal(mortal, "EraseTenant", shop) == "TENANT_NOT_DELETED"
    others_rows = await settled_rows(database, other.tenant_id)
    rows = await settled_rows(database, shop.tenant_id)
    assert shop.marker.encode() in await dump(mortal)
    await registry(mortal, "DeleteTenant", shop)
    erasure = (await command(mortal, "erase", shop.slug, "--yes"))["erasure"]
    assert erasure == (await command(mortal, "report", shop.slug))["erasure"]
    assert erasure["complete_time"]
    assert erasure["requester"] == "operator:admin"
    await assert_forgotten(mortal, database, shop)
    removed = {f"{one['service']}.{one['table']}": int(one["row_count"]) for one in erasure["removed"]}
    # What happened to the shop on its last day is written down, and erased, after it was counted here.
    growing = {"tenant.audit_entries", *KEPT} | {f"{service}.erased_rows" for service in SERVICES}
    assert {name: removed.get(name, 0) for name in rows if name not in growing} == {
        name: count for name, (count, _) in rows.items() if name not in growing
    }
    assert await rows_of(database, other.tenant_id) == others_rows
    async with mortal.client(**{"x-api-key": other.api_key}) as client:
        assert (await client.get("/api/tickets")).json()["tickets"][0]["ticket_number"] == other.ids["number"]
    assert await refusal(mortal, "UndeleteTenant", shop) == "TENANT_ERASED"
    assert await refusal(mortal, "GetErasure", other) == "ERASURE_NOT_FOUND"
    export = await command(mortal, "export", shop.slug, "--to", f"{mortal.data}/nothing")
    assert export["error"]["reason"] == "TENANT_ERASED"
    again = {"tenant": {"slug": shop.slug, "name": "Again"}}
    with pytest.raises(grpc.aio.AioRpcError) as taken:
        await call(mortal.grpc["tenant"], f"{REGISTRY}/CreateTenant", again, await operator_token(mortal))
    assert taken.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def assert_forgotten(suite: SuiteUnderTest, database: asyncpg.Connection, shop: Shop) -> None:
    """Look for a shop's words in every column, in Valkey and in the logs, and for its rows in every table."""
    token = shop.webhook_url.rsplit("/", 1)[1]
    content = await dump(suite)
    # A dump shows bytes as hexadecimal digits.
    for word in (shop.marker, shop.webhook_secret, shop.api_key, token):
        assert word.encode() not in content
        assert word.encode().hex().encode() not in content
    keys, values = await valkey_content(suite)
    assert not [key for key in keys if shop.tenant_id.encode() in key]
    assert shop.marker.encode() not in values
    for name, log in logs(suite).items():
        assert shop.marker.encode() not in log, name
    left = {name for name, (count, _) in (await rows_of(database, shop.tenant_id)).items() if count}
    assert left <= KEPT | {f"{service}.erased_rows" for service in SERVICES}


@pytest.mark.parametrize("killed", ["recommendations", "tenant"])
async def test_an_erasure_outlives_the_death_of_a_service_in_its_middle(
    mortal: SuiteUnderTest, database: asyncpg.Connection, killed: str
) -> None:
    """After kill -9 it goes on where it was, ends, and the report still counts each row once."""
    shop = await furnish(mortal, await new_shop(mortal, f"martyr-{killed}"))
    rows = 60_000
    await database.execute(
        "INSERT INTO recommendations.outbox (tenant_id, kind, subject)"
        " SELECT $1, 'noise', $2 || n FROM generate_series(1, $3::int) AS n",
        UUID(shop.tenant_id),
        shop.marker,
        rows,
    )
    of_shop = "SELECT count(*) FROM recommendations.outbox WHERE tenant_id = $1"
    before = await database.fetchval(of_shop, UUID(shop.tenant_id))
    await registry(mortal, "DeleteTenant", shop)
    await registry(mortal, "EraseTenant", shop)

    async def in_the_middle() -> bool:
        return bool(0 < await database.fetchval(of_shop, UUID(shop.tenant_id)) < before)

    await eventually(in_the_middle, within=30)
    os.kill(mortal.pid(killed), signal.SIGKILL)
    left = await database.fetchval(of_shop, UUID(shop.tenant_id))

    async def back() -> bool:
        try:
            return bool((await registry(mortal, "GetErasure", shop)).start_time.seconds)
        except grpc.aio.AioRpcError:
            return False

    await eventually(back, within=30)
    report = await erased(mortal, shop)
    removed = {(one.service, one.table): one.row_count for one in report.removed}
    print(f"killed {killed} with {left} of {before} rows left; all removed, each counted once")  # noqa: T201 - figures
    assert removed["recommendations", "outbox"] == before
    await assert_forgotten(mortal, database, shop)


async def test_a_deleted_shop_is_erased_by_itself_when_its_time_is_over(
    mortal: SuiteUnderTest, database: asyncpg.Connection
) -> None:
    """Nobody asks: at the purge time the service does it, and says so in the report."""
    shop = await furnish(mortal, await new_shop(mortal, "mayfly"))
    deleted = await registry(mortal, "DeleteTenant", shop)
    assert deleted.purge_time.seconds - deleted.delete_time.seconds == 30 * 86400
    await database.execute("UPDATE tenant.tenants SET purge_time = now() WHERE tenant_id = $1", UUID(shop.tenant_id))

    async def begun() -> bool:
        return bool((await registry(mortal, "GetTenant", shop)).HasField("erase_time"))

    await eventually(begun)
    assert (await erased(mortal, shop)).requester == "service:tenant"
    await assert_forgotten(mortal, database, shop)


async def test_a_served_shop_is_erased_by_nobody(mortal: SuiteUnderTest, database: asyncpg.Connection) -> None:
    """An operator cannot have a single service forget a shop: that is the tenant service's to ask for."""
    shop = await new_shop(mortal, "safe")
    before = await settled_rows(database, shop.tenant_id)
    for service in SERVICES:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(
                mortal.grpc[service],
                "rapport.tenancy.v1.TenantDataService/EraseTenant",
                {"tenant_id": shop.tenant_id},
                await operator_token(mortal),
            )
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert await rows_of(database, shop.tenant_id) == before
