"""Whose an account is: where the deliveries go that a vendor signs with the secret of an app."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from servicekit.envelope import Sealer
from services.crm.account_store import AccountStore
from services.crm.address_store import AccountOwner, AddressStore
from services.crm.apps import Account
from services.crm.directory import KEEP_SECONDS
from services.crm.errors import AccountTakenError
from services.crm.keyring import Keyring

MOST_KEPT = 20_000
"""How many accounts are remembered, those that nobody owns included."""


@dataclass(frozen=True, slots=True)
class Destination:
    """The connection that a delivery goes to, with its settings, ready to seal it."""

    tenant_id: UUID
    connection_id: UUID
    config: Mapping[str, str]
    sealer: Sealer = field(repr=False)
    key_version: int


class Accounts:
    """Remembers for a moment who owns which account, and lets connections prove that one is theirs."""

    def __init__(
        self, addresses: AddressStore, store: AccountStore, keyring: Keyring, clock: Callable[[], float]
    ) -> None:
        self._addresses = addresses
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, AccountOwner | None]] = OrderedDict()

    async def owners(self, accounts: Iterable[Account]) -> Mapping[Account, Destination]:
        """Return where deliveries of the accounts go; those that nobody proved to own are missing.

        Raises:
            DatabaseUnavailableError: an account is not remembered and the database is out of reach.
        """
        wanted = {account: account.hash for account in accounts}
        now = self._clock()
        known = {each: kept[1] for each in wanted.values() if (kept := self._kept.get(each)) and kept[0] > now}
        if missing := [each for each in wanted.values() if each not in known]:
            known |= await self._look_up(missing)
        found = {account: owner for account, each in wanted.items() if (owner := known[each]) is not None}
        owners = set(found.values())
        ready = await asyncio.gather(*(self._destination(owner) for owner in owners))
        destinations = {owner: to for owner, to in zip(owners, ready, strict=True) if to is not None}
        return {account: destinations[owner] for account, owner in found.items() if owner in destinations}

    async def prove(self, tenant_id: UUID, connection_id: UUID, account: Account) -> None:
        """Write down that a connection's own credentials answered that the account is its own; the first one has it.

        What the connection proved before is given up.

        Raises:
            AccountTakenError: another connection was first; it must be deleted, or prove another account.
        """
        if not await self._store.claim(tenant_id, connection_id, account.hash, datetime.now(UTC)):
            raise AccountTakenError(
                "Another connection has proved that this account is its own.", metadata={"provider": account.provider}
            )
        self.forget()

    async def owner(self, account: Account) -> AccountOwner | None:
        """Return who owns an account now, whatever is remembered; None when nobody does."""
        return (await self._addresses.owners([account.hash])).get(account.hash)

    async def release(self, owner: AccountOwner, account: Account) -> None:
        """Take an account from its owner, whose credentials do not answer for it any more."""
        await self._store.release(owner.tenant_id, owner.connection_id, account.hash)
        self.forget()

    def forget(self) -> None:
        """Forget everything in this process."""
        self._kept.clear()

    async def _look_up(self, hashes: list[bytes]) -> dict[bytes, AccountOwner | None]:
        found = dict.fromkeys(hashes) | await self._addresses.owners(hashes)
        until = self._clock() + KEEP_SECONDS
        for each, owner in found.items():
            self._kept[each] = (until, owner)
            self._kept.move_to_end(each)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return found

    async def _destination(self, owner: AccountOwner) -> Destination | None:
        """Return an owner ready to seal; None when its tenant was erased a moment ago, and its account is nobody's."""
        # Keys are the keyring's to keep, and to forget.
        try:
            version, sealer = await self._keyring.newest(owner.tenant_id)
        except KeyError:
            return None
        return Destination(owner.tenant_id, owner.connection_id, owner.config, sealer, version)
