"""Who is behind an address: looked up in the database at most once per address and second.

Anybody can invent addresses, and each that was never seen costs a look-up. So those at which nobody was found lately
wait for one of two lanes: a flood of them takes neither the database's connections nor the time of webhooks to
addresses that are in use, which never wait there.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from servicekit.envelope import Sealer
from services.crm.address_store import Address, Addressee, AddressStore
from services.crm.apps import DEPLOYMENT
from services.crm.credentials import open_secret
from services.crm.errors import AddressesBusyError
from services.crm.judging import LATELY
from services.crm.keyring import Keyring
from services.crm.providers.provider import WebhookSecret

KEEP_SECONDS = 1.5
"""How long an answer is believed: a rotated secret or a deleted connection takes effect everywhere within it."""

MOST_KEPT = 20_000
"""How many addresses are remembered, unknown ones included."""

UNKNOWN_AT_ONCE = 2
"""How many addresses at which nobody was found lately are looked up at once."""

MOST_WAITING = 500
"""How many more of them may wait; beyond that they are refused, and vendors come again."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A connection that webhooks come in for, ready to verify them and to seal what is admitted.

    `secrets` are all versions of its webhook secret but those that ended long ago.
    """

    tenant_id: UUID
    connection_id: UUID
    provider: str
    config: Mapping[str, str]
    predecessor_until: datetime | None
    address: Address
    secrets: Sequence[WebhookSecret]
    sealer: Sealer = field(repr=False)
    key_version: int

    @property
    def is_app(self) -> bool:
        """Return whether it is a vendor's app, whose deliveries belong to the connections that own their accounts."""
        return self.tenant_id == DEPLOYMENT

    def takes(self, provider: str, now: datetime) -> bool:
        """Return whether webhooks of a provider are taken at the address now."""
        return self.provider == provider and self.address.open(now)

    def proofs(self, token: str, *, by_address: bool) -> Sequence[WebhookSecret]:
        """Return what proves a request: the secrets, or the token of the address where that is all there is."""
        if not by_address:
            return self.secrets
        return [WebhookSecret(self.address.version, token, self.address.not_before, self.address.not_after)]


class Directory:
    """Remembers for a moment who is behind an address, and that nobody is: both cost the same."""

    def __init__(self, store: AddressStore, keyring: Keyring, clock: Callable[[], float]) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, Recipient | None]] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Recipient | None]] = {}
        # Where somebody was found the last time. It outlives what is believed, and says only who need not wait.
        self._in_use: OrderedDict[bytes, None] = OrderedDict()
        self._unknown = asyncio.Semaphore(UNKNOWN_AT_ONCE)
        self._waiting = 0
        self._generation = 0

    async def find(self, token_hash: bytes) -> Recipient | None:
        """Return the connection behind an address; None when there is none.

        Calls for the same address at the same time share one look-up.

        Raises:
            DatabaseUnavailableError: the address is not remembered and the database is out of reach.
            AddressesBusyError: nobody was found at the address lately, and too many such ones are to be looked up.
        """
        kept = self._kept.get(token_hash)
        if kept is not None and kept[0] > self._clock():
            return kept[1]
        task = self._asked.get(token_hash)
        if task is None:
            task = asyncio.create_task(self._look_up(token_hash))
            self._asked[token_hash] = task
            task.add_done_callback(lambda done: self._answered(token_hash, done))
        # One caller that gives up must not take the answer away from the others.
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Forget everything in this process, because a connection changed; what is being looked up is not kept."""
        self._kept.clear()
        self._asked.clear()
        self._generation += 1

    def _answered(self, token_hash: bytes, task: asyncio.Task[Recipient | None]) -> None:
        """Note that a look-up is over; an error was for those who waited, if anybody still did."""
        if self._asked.get(token_hash) is task:
            del self._asked[token_hash]
        if not task.cancelled():
            task.exception()

    async def _look_up(self, token_hash: bytes) -> Recipient | None:
        generation = self._generation
        addressee = await self._addressee(token_hash)
        try:
            recipient = await self._open(addressee) if addressee else None
        except KeyError:
            # Its tenant was erased a moment ago, first of all its keys: there is nobody any more.
            recipient = None
        if generation == self._generation:
            self._kept[token_hash] = (self._clock() + KEEP_SECONDS, recipient)
            self._kept.move_to_end(token_hash)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return recipient

    async def _addressee(self, token_hash: bytes) -> Addressee | None:
        """Ask the database, at once for an address that is in use, in turn for any other."""
        if token_hash in self._in_use:
            addressee = await self._store.addressee(token_hash, lately=LATELY)
        else:
            addressee = await self._in_turn(token_hash)
        if addressee is None:
            self._in_use.pop(token_hash, None)
            return None
        self._in_use[token_hash] = None
        self._in_use.move_to_end(token_hash)
        while len(self._in_use) > MOST_KEPT:
            self._in_use.popitem(last=False)
        return addressee

    async def _in_turn(self, token_hash: bytes) -> Addressee | None:
        if self._waiting >= MOST_WAITING:
            raise AddressesBusyError
        self._waiting += 1
        try:
            await self._unknown.acquire()
        finally:
            self._waiting -= 1
        try:
            return await self._store.addressee(token_hash, lately=LATELY)
        finally:
            self._unknown.release()

    async def _open(self, addressee: Addressee) -> Recipient:
        tenant_id = addressee.tenant_id
        secrets = []
        for secret in addressee.secrets:
            sealer = await self._keyring.sealer(tenant_id, secret.key_version)
            text = open_secret(
                sealer,
                secret.sealed,
                tenant_id=tenant_id,
                connection=addressee.connection_id,
                name=secret.name,
                version=secret.version,
            )
            secrets.append(WebhookSecret(secret.version, text, secret.not_before, secret.not_after))
        version, sealer = await self._keyring.newest(tenant_id)
        return Recipient(
            tenant_id=tenant_id,
            connection_id=addressee.connection_id,
            provider=addressee.provider,
            config=addressee.config,
            predecessor_until=addressee.predecessor_until,
            address=addressee.address,
            secrets=secrets,
            sealer=sealer,
            key_version=version,
        )
