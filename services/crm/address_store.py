"""All SQL about who is behind an address or an account: what is looked up before any tenant is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from servicekit.database import Database
from services.crm.connection_store import SealedSecret
from services.crm.connections import WEBHOOK_SECRET


@dataclass(frozen=True, slots=True)
class Address:
    """One version of a connection's address and the time in which it is open (`not_after` is excluded)."""

    version: int
    not_before: datetime
    not_after: datetime | None

    def open(self, now: datetime) -> bool:
        """Return whether webhooks are taken at the address at `now`."""
        return self.not_after is None or now < self.not_after


@dataclass(frozen=True, slots=True)
class Addressee:
    """The connection behind an address, with the sealed versions of its webhook secret, newest first.

    Those that ended lately are among them. Until `predecessor_until` it takes what the predecessor's schemes prove.
    """

    tenant_id: UUID
    connection_id: UUID
    provider: str
    config: Mapping[str, str]
    predecessor_until: datetime | None
    address: Address
    secrets: Sequence[SealedSecret]


@dataclass(frozen=True, slots=True)
class AccountOwner:
    """The connection that proved that an account is its own."""

    tenant_id: UUID
    connection_id: UUID


class AddressStore:
    """The indexes of addresses and accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def addressee(self, token_hash: bytes, *, lately: timedelta) -> Addressee | None:
        """Return the connection behind an open address in one round trip; None when there is none.

        `lately` is how long ago a secret may have ended to be among those that are returned.
        """
        rows = await self._database.fetch("SELECT * FROM crm.recipient_by_token($1, $2)", token_hash, lately)
        if not rows:
            return None
        first = rows[0]
        return Addressee(
            first["tenant_id"],
            first["connection_id"],
            first["provider"],
            orjson.loads(first["config"]),
            first["predecessor_until"],
            Address(first["address_version"], first["address_not_before"], first["address_not_after"]),
            [
                SealedSecret(
                    WEBHOOK_SECRET,
                    row["secret_version"],
                    row["key_version"],
                    row["sealed"],
                    "",
                    row["not_before"],
                    row["not_after"],
                )
                for row in rows
                if row["secret_version"] is not None
            ],
        )

    async def owners(self, account_hashes: Sequence[bytes]) -> dict[bytes, AccountOwner]:
        """Return who proved to own the accounts, those that somebody did, in one round trip."""
        rows = await self._database.fetch("SELECT * FROM crm.owners_of_accounts($1)", list(account_hashes))
        return {row["account_hash"]: AccountOwner(row["tenant_id"], row["connection_id"]) for row in rows}
