"""What the database itself guarantees, whatever the code above it does."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from servicekit.database import Database
from servicekit.envelope import KeyEncryptionKeys
from servicekit.migrate import downgrade, upgrade
from services.tenant import keys, registry, scopes
from services.tenant.key_store import KeyStore
from services.tenant.registry import Tenant, Wishes
from services.tenant.signing import SealedSigningKey, new_signing_key, open_sealed, seal
from services.tenant.store import TenantStore
from services.tenant.trust_store import TrustStore
from tests.support.servers import DatabaseFor, ServiceDatabase


@pytest.fixture
async def database(tenant_database: ServiceDatabase) -> AsyncIterator[Database]:
    """The shared database, as the running service reaches it."""
    connected = await Database.connect(tenant_database.app_url, schema="tenant", pool_size=4)
    yield connected
    await connected.close()


async def new_tenant(database: Database) -> tuple[Tenant, keys.ApiKey, str]:
    """A stored tenant, its key, and the key's text."""
    now, text, tenant_id = datetime.now(UTC), keys.new_text(), uuid4()
    tenant = registry.new_tenant(tenant_id, f"shop-{tenant_id.hex[:12]}", Wishes(name="A shop"), now)
    key = keys.new_key(
        text, tenant_id=tenant_id, key_id=uuid4(), name="key", scopes=scopes.SHOP, expire_time=None, now=now
    )
    await TenantStore(database).create_tenant(tenant, key, None)
    return tenant, key, text


async def rows(database: Database, tenant_id: UUID | None, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
    """The rows of a query that names no tenant, run inside this one or inside none."""
    if tenant_id is None:
        async with database.driver.acquire() as connection:
            return list(await connection.fetch(query, *arguments))
    async with database.driver_tenant(tenant_id) as connection:
        return list(await connection.fetch(query, *arguments))


async def test_the_runtime_role_cannot_read_around_the_policies(database: Database) -> None:
    """The check that every process makes at its start passes."""
    await database.check_role()


async def test_a_hash_leads_to_its_key_and_tenant_only(database: Database) -> None:
    """The lookup gives the right pair, and nothing for a hash that nobody has."""
    tenant, key, text = await new_tenant(database)
    await new_tenant(database)
    store = KeyStore(database)
    assert await store.find_api_key(keys.hash_of(text)) == (key, tenant)
    assert await store.find_api_key(keys.hash_of(keys.new_text())) is None


@pytest.mark.parametrize("table", ["tenants", "api_keys"])
async def test_a_forgotten_predicate_shows_only_the_own_rows(database: Database, table: str) -> None:
    """Without any WHERE the policies still hide every other tenant."""
    ours, _, _ = await new_tenant(database)
    await new_tenant(database)
    found = await rows(database, ours.tenant_id, f"SELECT tenant_id FROM tenant.{table}")  # noqa: S608 - two fixed names
    assert [row["tenant_id"] for row in found] == [ours.tenant_id]


@pytest.mark.parametrize("table", ["tenants", "api_keys"])
async def test_without_a_tenant_a_query_is_an_error(database: Database, table: str) -> None:
    """It is not an empty answer, which would look like a fact."""
    with pytest.raises(asyncpg.PostgresError):
        await rows(database, None, f"SELECT * FROM tenant.{table}")  # noqa: S608 - two fixed names


async def test_another_tenants_rows_can_be_neither_changed_nor_made(database: Database) -> None:
    """Writes obey the same policies: nothing is found to change, and a foreign row is refused."""
    ours, _, _ = await new_tenant(database)
    theirs, their_key, _ = await new_tenant(database)
    change = "UPDATE tenant.tenants SET name = 'taken' WHERE tenant_id = $1 RETURNING 1"
    assert await rows(database, ours.tenant_id, change, theirs.tenant_id) == []
    moved = "UPDATE tenant.api_keys SET tenant_id = $1"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await rows(database, ours.tenant_id, moved, theirs.tenant_id)
    planted = (
        "INSERT INTO tenant.api_keys (tenant_id, key_id, name, prefix, scopes, key_hash, create_time)"
        " VALUES ($1, $2, 'planted', 'rpk_', '{}', $3, now())"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await rows(database, ours.tenant_id, planted, theirs.tenant_id, uuid4(), keys.hash_of("planted"))
    assert await KeyStore(database).list_api_keys(theirs.tenant_id, None, 10) == [their_key]


@pytest.mark.parametrize("table", ["tenant_index", "api_key_index"])
@pytest.mark.parametrize("query", ["SELECT * FROM {}", "DELETE FROM {}", "UPDATE {} SET tenant_id = tenant_id"])
async def test_the_indexes_are_closed_to_the_runtime_role(database: Database, table: str, query: str) -> None:
    """Only the listed functions look across tenants."""
    tenant, _, _ = await new_tenant(database)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await rows(database, tenant.tenant_id, query.format(f"tenant.{table}"))


async def test_nothing_can_be_deleted_by_the_runtime_role(database: Database) -> None:
    """A deletion is a state; rows go with their tenant's data, and that is nobody's everyday right."""
    tenant, _, _ = await new_tenant(database)
    for table in ("tenants", "api_keys", "shared_secrets"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await rows(database, tenant.tenant_id, f"DELETE FROM tenant.{table}")  # noqa: S608 - fixed names


async def test_the_functions_that_span_tenants_are_the_listed_ones(tenant_database: ServiceDatabase) -> None:
    """Each runs as the narrow role with an empty search path, and no other function does."""
    connection = await asyncpg.connect(tenant_database.superuser_url)
    try:
        found = await connection.fetch(
            "SELECT proname, proconfig, pg_get_userbyid(proowner) AS owner, has_function_privilege('public', oid, "
            "'EXECUTE') AS open FROM pg_proc WHERE pronamespace = 'tenant'::regnamespace AND prosecdef"
        )
    finally:
        await connection.close()
    assert {row["proname"] for row in found} == {
        "due_erasures",
        "erase_rows",
        "find_api_key",
        "find_tenant",
        "find_tenant_of_request",
        "keep_api_key_index",
        "keep_domain_index",
        "keep_tenant_index",
        "list_tenants",
        "record_key_uses",
        "refused_tenants",
        "revoked_api_keys",
        "tell_of_signing_keys",
    }
    assert all(row["owner"] == "tenant_spanning" and not row["open"] for row in found)
    assert all(row["proconfig"] == ['search_path=""'] for row in found)


async def test_processes_that_start_together_agree_on_the_signing_keys(
    fresh_database_for: DatabaseFor, tmp_path: Path
) -> None:
    """Of many first starts at once one makes the two keys; all open the same ones."""
    database = await Database.connect(fresh_database_for("tenant").app_url, schema="tenant", pool_size=8)
    keks = KeyEncryptionKeys.create(tmp_path / "keks")
    made = []

    async def make(slot: str) -> SealedSigningKey:
        made.append(slot)
        return await seal(new_signing_key(), slot, keks)

    store = TrustStore(database)
    held = await asyncio.gather(*(store.ensure_signing_keys(make) for _ in range(8)))
    trust = await store.read_trust()
    await database.close()
    assert sorted(made) == ["current", "next"]
    kids = {slot: {keys_held[slot].kid for keys_held in held} for slot in ("current", "next")}
    assert all(len(each) == 1 for each in kids.values())
    published = {entry["kid"]: entry for entry in json.loads(trust.jwks_json)["keys"]}
    opened = await open_sealed(held[0]["current"], keks)
    assert published[opened.kid] == opened.jwk
    assert len(published) == 2


async def test_a_sealed_signing_key_opens_with_its_keks_and_in_its_place_only(tmp_path: Path) -> None:
    """Another key-encryption key, or another key's row, opens nothing."""
    keks = KeyEncryptionKeys.create(tmp_path / "keks")
    sealed = await seal(new_signing_key(), "current", keks)
    with pytest.raises(ValueError, match="KEK_FILE"):
        await open_sealed(sealed, KeyEncryptionKeys.create(tmp_path / "others"))
    moved = SealedSigningKey("another", "next", sealed.jwk, sealed.wrapped_data_key, sealed.sealed_private_key)
    with pytest.raises(ValueError, match="KEK_FILE"):
        await open_sealed(moved, keks)


async def test_no_secret_stands_in_the_database(database: Database, tenant_database: ServiceDatabase) -> None:
    """Neither a key's text nor its random part nor a private key in clear is in any row."""
    _, _, text = await new_tenant(database)
    connection = await asyncpg.connect(tenant_database.superuser_url)
    try:
        tables = ("tenants", "tenant_index", "api_keys", "api_key_index", "signing_keys", "shared_secrets")
        dump = ""
        for table in tables:
            for row in await connection.fetch(f"SELECT t::text FROM tenant.{table} t"):  # noqa: S608 - fixed names
                dump += row[0]
    finally:
        await connection.close()
    assert text[:12] in dump
    assert text[13:36] not in dump
    assert '"d"' not in dump


async def test_the_migrations_go_up_down_and_up_again(fresh_database_for: DatabaseFor) -> None:
    """Nothing is left behind by the way down."""
    fresh = fresh_database_for("tenant")
    await downgrade(fresh.owner_url, "services.tenant", "base")
    connection = await asyncpg.connect(fresh.superuser_url)
    try:
        left = await connection.fetchval(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'tenant'::regnamespace AND relname NOT LIKE 'alembic%'"
        )
        functions = await connection.fetchval(
            "SELECT count(*) FROM pg_proc WHERE pronamespace = 'tenant'::regnamespace"
        )
    finally:
        await connection.close()
    assert (left, functions) == (0, 0)
    await upgrade(fresh.owner_url, "services.tenant")
