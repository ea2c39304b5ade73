"""The schema: it comes and goes, and it holds to the rules for tenant tables."""

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from servicekit.database import Database
from servicekit.envelope import KeyEncryptionKeys, new_data_key
from servicekit.migrate import downgrade, upgrade
from services.crm.key_jobs import KeyJobs
from services.crm.key_store import KeyStore
from services.crm.rotation_store import RotationStore
from services.crm.tables import metadata
from tests.crm.sealed_shops import plant
from tests.support.servers import DatabaseFor


async def table_names(connection: asyncpg.Connection) -> set[str]:
    """Return the names of the schema's tables; the partitions of one are not tables of their own."""
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'crm'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition"
    )
    return {row["relname"] for row in rows}


async def test_migrations_go_down_and_up_again(fresh_database_for: DatabaseFor) -> None:
    """The schema can be taken back to nothing and built anew."""
    database = fresh_database_for("crm")
    await downgrade(database.owner_url, "services.crm", "base")
    connection = await asyncpg.connect(database.superuser_url)
    try:
        assert await table_names(connection) <= {"alembic_version"}
        await upgrade(database.owner_url, "services.crm")
        wanted = {table.name for table in metadata.sorted_tables}
        assert await table_names(connection) == wanted | {"alembic_version"}
    finally:
        await connection.close()


async def test_chained_data_keys_are_not_left_to_a_version_that_cannot_open_them(
    fresh_database_for: DatabaseFor,
) -> None:
    """The way down is refused while a data key is wrapped by another, changes nothing, and is open without one."""
    database = fresh_database_for("crm")
    keks = KeyEncryptionKeys("kek-1", {"kek-1": new_data_key()})
    (shop,) = await plant(database.superuser_url, keks, 1)
    runtime = await Database.connect(database.app_url, schema="crm")
    try:
        store = KeyStore(runtime)
        await KeyJobs(runtime, store, RotationStore(runtime), keks).rotate_one(shop.tenant_id)
        with pytest.raises(DBAPIError, match="wrapped by"):
            await downgrade(database.owner_url, "services.crm", "0004")
        assert len(await store.data_keys(shop.tenant_id)) == 2
    finally:
        await runtime.close()
    await upgrade(database.owner_url, "services.crm")
    connection = await asyncpg.connect(database.superuser_url)
    try:
        await connection.execute("DELETE FROM crm.data_keys WHERE version = 1")
    finally:
        await connection.close()
    await downgrade(database.owner_url, "services.crm", "0004")


async def test_tables_in_code_have_the_columns_of_the_database(database_for: DatabaseFor) -> None:
    """Every table in `tables.py` names exactly the columns that the migrations made."""
    connection = await asyncpg.connect(database_for("crm").superuser_url)
    try:
        for table in metadata.sorted_tables:
            rows = await connection.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'crm' AND table_name = $1",
                table.name,
            )
            assert {row["column_name"] for row in rows} == set(table.columns.keys()), table.name
    finally:
        await connection.close()


async def test_every_key_and_index_leads_with_the_tenant(database_for: DatabaseFor) -> None:
    """Only the indexes of addresses and accounts, read before a tenant is known, have keys without it in front."""
    connection = await asyncpg.connect(database_for("crm").superuser_url)
    try:
        rows = await connection.fetch(
            """SELECT i.indexrelid::regclass::text AS name, a.attname FROM pg_index i
               JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
               WHERE n.nspname = 'crm' AND c.relname <> 'alembic_version'"""
        )
    finally:
        await connection.close()
    spanning = {"crm.webhook_addresses_pkey", "crm.accounts_pkey"}
    # Rotations come to all tenants and name none.
    spanning |= {"crm.key_rotations_pkey", "crm.key_rotations_running"}
    # What is due is looked up by its time, whosever it is.
    spanning |= {"crm.sync_jobs_due"}
    assert {row["name"] for row in rows if row["attname"] != "tenant_id"} == spanning
