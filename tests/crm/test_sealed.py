"""A ciphertext opens where it was sealed only: in no other row, tenant, field, version or table, by no other key."""

import itertools
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.database import Database
from servicekit.envelope import KeyEncryptionKeys, SealBrokenError, Sealer, new_data_key
from services.crm.data_keys import WrappedKey, open_all, wrap_older
from services.crm.key_store import KeyStore
from services.crm.sealed import SEALED
from tests.crm.sealed_shops import opened, plant
from tests.support.servers import DatabaseFor

KEY, NEWER = new_data_key(), new_data_key()
IDS = [UUID(int=number) for number in range(1, 4)]
ROWS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(IDS),
        "connection_id": st.sampled_from(IDS),
        "name": st.sampled_from(["webhook_secret", "api_token", "payload", "write", ""]),
        "version": st.integers(1, 3),
    }
)
PLACES = st.tuples(st.sampled_from(SEALED), st.sampled_from(IDS), ROWS)


@given(st.binary(max_size=60), PLACES, PLACES)
def test_a_ciphertext_that_was_moved_does_not_open(content: bytes, one: Any, other: Any) -> None:
    """Even with one data key for everything: the place decides, and the content does not change that."""
    table, tenant, row = one
    sealer = Sealer(KEY)
    sealed = table.seal(sealer, content, tenant, row)
    assert table.open(sealer, tenant, {**row, table.column: sealed}) == content
    there, other_tenant, other_row = other
    same = (tenant, *table.place(row)) == (other_tenant, *there.place(other_row))
    if not same:
        with pytest.raises(SealBrokenError):
            there.open(sealer, other_tenant, {**other_row, there.column: sealed})
    with pytest.raises(SealBrokenError):
        table.open(Sealer(NEWER), tenant, {**row, table.column: sealed})


@given(st.integers(1, 5), st.integers(1, 5), st.integers(6, 8), st.integers(6, 8), st.sampled_from(IDS))
def test_an_older_data_key_opens_as_its_own_version_of_its_tenant_only(
    version: int, other_version: int, newest: int, other_newest: int, tenant: UUID
) -> None:
    """It does not open as another version, below another newest one, or for another tenant."""
    (wrapped,) = wrap_older(NEWER, newest, {version: KEY}, IDS[0])
    stored = [WrappedKey(other_newest, b""), WrappedKey(other_version, wrapped.wrapped)]
    if (version, newest, IDS[0]) == (other_version, other_newest, tenant):
        assert open_all(NEWER, stored, tenant).keys == {newest: NEWER, version: KEY}
    else:
        with pytest.raises(SealBrokenError):
            open_all(NEWER, stored, tenant)


async def test_rows_that_were_swapped_in_the_database_do_not_open(fresh_database_for: DatabaseFor) -> None:
    """Whoever can write the database gains nothing by exchanging sealed bytes between any two rows."""
    made = fresh_database_for("crm")
    keks = KeyEncryptionKeys("kek-1", {"kek-1": new_data_key()})
    database = await Database.connect(made.app_url, schema="crm")
    shops = await plant(made.superuser_url, keks, 2)
    connection = await asyncpg.connect(made.superuser_url)
    places = [
        (table, f"tenant_id = '{row['tenant_id']}' AND " + " AND ".join(f"{key} = '{row[key]}'" for key in table.keys))
        for table in SEALED
        for row in await connection.fetch(f"SELECT * FROM crm.{table.name}")  # noqa: S608 - our own names
    ]
    tried = 0
    for (one, one_row), (other, other_row) in itertools.combinations(places, 2):
        transaction = connection.transaction()
        await transaction.start()
        first = await connection.fetchval(f"SELECT {one.column} FROM crm.{one.name} WHERE {one_row}")  # noqa: S608
        second = await connection.fetchval(f"SELECT {other.column} FROM crm.{other.name} WHERE {other_row}")  # noqa: S608
        for table, row, value in ((one, one_row, second), (other, other_row, first)):
            await connection.execute(f"UPDATE crm.{table.name} SET {table.column} = $1 WHERE {row}", value)  # noqa: S608
        await transaction.commit()
        found = [await opened(made.superuser_url, KeyStore(database), keks, shop) for shop in shops]
        assert sum(text == "" for of_shop in found for _, text in of_shop.values()) == 2
        for table, row, value in ((one, one_row, first), (other, other_row, second)):
            await connection.execute(f"UPDATE crm.{table.name} SET {table.column} = $1 WHERE {row}", value)  # noqa: S608
        tried += 1
    await connection.close()
    await database.close()
    assert tried == 28
