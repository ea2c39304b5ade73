"""All SQL about who owns which account."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.dml import Delete

from servicekit.database import Database
from services.crm.tables import accounts


class AccountStore:
    """The accounts that connections proved to be theirs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, tenant_id: UUID, connection_id: UUID, account_hash: bytes, now: datetime) -> bool:
        """Give the account to the connection in place of any other; tell whether it has it now.

        Whether somebody else has it is told by the key alone: no tenant sees the rows of another.
        """
        mine = (accounts.c.tenant_id == tenant_id, accounts.c.connection_id == connection_id)
        values = {
            "tenant_id": tenant_id,
            "connection_id": connection_id,
            "account_hash": account_hash,
            "prove_time": now,
        }
        async with self._database.tenant(tenant_id) as transaction:
            await transaction.execute(upsert(accounts).values(values).on_conflict_do_nothing())
            owned = select(accounts.c.account_hash).where(*mine, accounts.c.account_hash == account_hash)
            if (await transaction.execute(owned)).first() is None:
                return False
            await transaction.execute(delete(accounts).where(*mine, accounts.c.account_hash != account_hash))
        return True

    async def release(self, tenant_id: UUID, connection_id: UUID, account_hash: bytes) -> None:
        """Take the account from the connection, so that another one may prove it."""
        given_up = release_accounts(tenant_id, connection_id).where(accounts.c.account_hash == account_hash)
        async with self._database.tenant(tenant_id) as transaction:
            await transaction.execute(given_up)


def release_accounts(tenant_id: UUID, connection_id: UUID) -> Delete:
    """Return the statement by which a connection gives up what it proved."""
    return delete(accounts).where(accounts.c.tenant_id == tenant_id, accounts.c.connection_id == connection_id)
