"""The audit log: each tenant reads its own, an operator the deployment's, and nobody changes what stands there."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from rapport.tenant.v1 import api_key_pb2, api_key_service_pb2, audit_service_pb2, tenant_service_pb2
from rapport.tenant.v1.audit_entry_pb2 import AuditEntry

from servicekit.audit import Entry, Kind, message_of
from servicekit.database import Database
from servicekit.ids import uuid7
from services.tenant.audit_store import AuditStore
from services.tenant.store import TenantStore
from tests.support.servers import ServiceDatabase
from tests.support.waiting import eventually
from tests.tenant.side import Metadata, Side


async def log_of(side: Side, metadata: Metadata, **said: int) -> list[AuditEntry]:
    """Read the first page of the caller's log."""
    request = audit_service_pb2.ListAuditEntriesRequest(page_size=200, **said)  # type: ignore[arg-type]
    return list((await side.audit.ListAuditEntries(request, metadata=metadata)).audit_entries)


def entry(tenant_id: str, **said: object) -> Entry:
    """Return an act of the tenant; without one, of the deployment."""
    values: dict[str, object] = {
        "entry_id": uuid7(),
        "tenant_id": UUID(tenant_id) if tenant_id else None,
        "kind": Kind.ACT,
        "create_time": datetime.now(UTC),
        "subject": "key:x",
        "method": "rapport.crm.v1.ConnectionService/DeleteConnection",
    }
    return Entry(**{**values, **said})  # type: ignore[arg-type]


async def record(side: Side, *entries: Entry) -> None:
    """Write entries as the crm service does."""
    request = audit_service_pb2.RecordAuditEntriesRequest(entries=[message_of(each) for each in entries])
    await side.audit.RecordAuditEntries(request, metadata=await side.workload("crm"))


async def test_what_an_operator_does_to_a_tenant_stands_in_both_logs(side: Side) -> None:
    """Creating and suspending are acts of the deployment and of the tenant, with who, what and how it ended."""
    tenant, _ = await side.create()
    await side.suspend(tenant.slug)
    resume = tenant_service_pb2.ResumeTenantRequest(tenant=tenant.slug)
    await side.tenants.ResumeTenant(resume, metadata=await side.operator())
    own = await log_of(side, await side.operator(tenant.slug))
    assert [each.method.rpartition("/")[2] for each in own] == ["ResumeTenant", "SuspendTenant", "CreateTenant"]
    assert {each.outcome for each in own} == {"OK"}
    assert {each.subject for each in own} == {"operator:admin"}
    assert {each.tenant_id for each in own} == {tenant.id}
    deployment = [each for each in await log_of(side, await side.operator()) if tenant.slug in each.resource]
    assert [each.id for each in deployment] == [each.id for each in own]
    assert {each.tenant_id for each in deployment} == {""}


async def test_what_an_operator_does_to_a_tenant_at_another_service_stands_in_both_logs(side: Side) -> None:
    """The service says which tenant the request named, by slug or id; a name of nobody is the deployment's only."""
    tenant, _ = await side.create()
    named = [entry("", tenant=name, outcome="OK") for name in (tenant.slug, tenant.id, "nobody-at-all")]
    await record(side, *named)
    by_slug, by_id, by_nobody = (str(each.entry_id) for each in named)
    own = {each.id for each in await log_of(side, await side.operator(tenant.slug))}
    deployment = {each.id for each in await log_of(side, await side.operator())}
    assert {by_slug, by_id} <= own
    assert by_nobody not in own
    assert {by_slug, by_id, by_nobody} <= deployment


async def test_the_log_of_an_erased_tenant_does_not_grow_again(side: Side, tenant_database: ServiceDatabase) -> None:
    """Acts that name it, acts inside it and refusals go to the deployment's log, of which nothing must be erased."""
    tenant, _ = await side.create()
    await side.erase(tenant.slug)
    late = [
        entry(tenant.id, subject="key:late"),
        entry("", tenant=tenant.slug),
        entry(tenant.id, kind=Kind.REFUSAL, subject=f"client:{tenant.slug}", outcome="CREDENTIAL_INVALID"),
    ]
    await record(side, *late)
    ids = {str(each.entry_id) for each in late}
    assert ids <= {each.id for each in await log_of(side, await side.operator())}
    database = await Database.connect(tenant_database.app_url, schema="tenant", pool_size=1)
    try:
        store = AuditStore(database, TenantStore(database))
        own = await store.page(UUID(tenant.id), before=None, kind=None, at_most=200)
    finally:
        await database.close()
    assert not ids & {str(each.entry_id) for each in own}


async def test_a_refused_act_is_kept_with_the_reason(side: Side) -> None:
    """Somebody who tries what is not allowed by the state of things is seen."""
    tenant, _ = await side.create()
    with pytest.raises(grpc.aio.AioRpcError):
        await side.create(tenant.slug)
    own = await log_of(side, await side.operator(tenant.slug))
    assert [each.outcome for each in own] == ["TENANT_ALREADY_EXISTS", "OK"]


async def test_a_shop_reads_its_own_log_and_no_other(side: Side) -> None:
    """A key made by one shop stands in that shop's log; another shop sees nothing of it."""
    (tenant, key), (_, other_key) = await side.create(), await side.create()
    request = api_key_service_pb2.CreateApiKeyRequest(
        api_key=api_key_pb2.ApiKey(name="secret name", scopes=["tickets.read"])
    )
    made = await side.keys.CreateApiKey(request, metadata=await side.shop(key))
    own = await log_of(side, await side.shop(key), kind=AuditEntry.KIND_ACT)
    assert own[0].method == "rapport.tenant.v1.ApiKeyService/CreateApiKey"
    assert own[0].tenant_id == tenant.id
    assert made.key not in str(own), "a log holds no credential"
    assert tenant.id not in str(await log_of(side, await side.shop(other_key)))


async def test_a_refused_key_that_names_a_tenant_is_counted(side: Side) -> None:
    """Two exchanges of a revoked key make one entry of two in the log of the key's tenant."""
    tenant, key = await side.create()
    keys = await side.keys.ListApiKeys(
        api_key_service_pb2.ListApiKeysRequest(), metadata=await side.operator(tenant.slug)
    )
    revoke = api_key_service_pb2.RevokeApiKeyRequest(api_key=keys.api_keys[0].id)
    await side.keys.RevokeApiKey(revoke, metadata=await side.operator(tenant.slug))
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError):
            await side.exchange(key)
    metadata = await side.operator(tenant.slug)

    async def refusals() -> list[AuditEntry] | None:
        return await log_of(side, metadata, kind=AuditEntry.KIND_REFUSAL) or None

    found = await eventually(refusals)
    assert sum(each.count for each in found) == 2
    assert found[0].subject == f"key:{keys.api_keys[0].id}"
    assert found[0].outcome == "CREDENTIAL_INVALID"
    assert key not in str(found)


async def test_an_entry_is_completed_once_and_repeating_changes_nothing(side: Side) -> None:
    """The outcome comes after the act; once it is there neither a repeat nor another outcome changes it."""
    tenant, _ = await side.create()
    begun = entry(tenant.id)
    done = entry(tenant.id, entry_id=begun.entry_id, create_time=begun.create_time, outcome="OK")
    other = entry(tenant.id, entry_id=begun.entry_id, outcome="INTERNAL", subject="key:forged")
    for each in (begun, begun, done, begun, other, done):
        await record(side, each)
    found = [each for each in await log_of(side, await side.operator(tenant.slug)) if each.id == str(begun.entry_id)]
    assert [(each.outcome, each.subject) for each in found] == [("OK", "key:x")]


async def test_the_runtime_role_can_neither_change_nor_remove_an_entry(
    side: Side, tenant_database: ServiceDatabase
) -> None:
    """Whoever takes over the service cannot rewrite what it did."""
    tenant, _ = await side.create()

    async def attempt(statement: str) -> None:
        async with connection.transaction():
            await connection.execute("SELECT set_config('rapport.tenant_id', $1, true)", tenant.id)
            await connection.execute(statement)

    connection = await asyncpg.connect(tenant_database.app_url)
    try:
        for statement in (
            "DELETE FROM tenant.audit_entries",
            "UPDATE tenant.audit_entries SET subject = 'nobody'",
            "UPDATE tenant.audit_entries SET outcome = 'INTERNAL'",
            "TRUNCATE tenant.audit_entries",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await attempt(statement)
    finally:
        await connection.close()


async def test_pages_follow_one_another_without_gap(side: Side) -> None:
    """Three pages of two hold the six entries, the newest first, each once."""
    tenant, _ = await side.create()
    await record(side, *(entry(tenant.id, subject=f"key:{number}", outcome="OK") for number in range(5)))
    metadata, token, subjects = await side.operator(tenant.slug), "", []
    while True:
        request = audit_service_pb2.ListAuditEntriesRequest(page_size=2, page_token=token)
        page = await side.audit.ListAuditEntries(request, metadata=metadata)
        subjects += [each.subject for each in page.audit_entries]
        token = page.next_page_token
        if not token:
            break
    assert subjects == [*(f"key:{number}" for number in reversed(range(5))), "operator:admin"]


async def test_only_services_record(side: Side) -> None:
    """Neither a shop nor an operator writes into the log."""
    tenant, key = await side.create()
    request = audit_service_pb2.RecordAuditEntriesRequest(entries=[message_of(entry(tenant.id))])
    for metadata in (await side.shop(key), await side.operator(), await side.operator(tenant.slug)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await side.audit.RecordAuditEntries(request, metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_entry_of_an_unknown_tenant_hurts_nobody(side: Side) -> None:
    """Entries of several tenants go each into its own log, also of one that the registry does not know."""
    (one, _), (two, _) = await side.create(), await side.create()
    await record(side, *(entry(each, subject="key:batch") for each in (one.id, two.id, str(uuid4()))))
    for tenant in (one, two):
        found = await log_of(side, await side.operator(tenant.slug))
        assert [each.subject for each in found] == ["key:batch", "operator:admin"]
