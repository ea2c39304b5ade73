"""Who was erased lately: what helpdesks and shop systems still tell of them from before stays outside.

A helpdesk goes on listing the tickets of a customer who was erased here, and a delivery may be on its way. So for a
while a keyed hash of each of the customer's ids, addresses and tickets is kept. What began after the erasure counts
anew: whoever comes back is a customer like any other. A ticket that was erased stays away altogether, since its later
messages would bring its earlier ones along.
"""

import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.crm.admission import length_prefixed
from services.crm.erasure_store import ErasureStore

_log = structlog.get_logger(__name__)

KEPT = timedelta(days=90)
"""How long an erasure is remembered: in that time the customer has to be erased at the helpdesk as well."""

Ticket = tuple[UUID, str]
"""A connection and the provider's id of a ticket."""


@dataclass(frozen=True, slots=True)
class About:
    """What something that a provider tells is about, and when that began."""

    customer: str | None
    ticket: Ticket | None
    began: datetime


class Forgotten:
    """Remembers erasures by keyed hashes, under a key for each tenant that is derived of a secret of the service."""

    def __init__(self, store: ErasureStore, secret: str) -> None:
        self._store = store
        self._key = HKDF(SHA256(), 32, salt=None, info=b"rapport erased customers").derive(secret.encode())

    async def remember(
        self, tenant_id: UUID, *, customers: Collection[str] = (), tickets: Collection[Ticket] = ()
    ) -> None:
        """Keep these away from now on."""
        digests = {self._customer(tenant_id, text) for text in customers} | {
            self._ticket(tenant_id, ticket) for ticket in tickets
        }
        await self._store.remember(tenant_id, digests, datetime.now(UTC))

    async def welcome(self, tenant_id: UUID, told: Sequence[About]) -> list[bool]:
        """Return which of these may come in; a ticket that may not for its customer's sake is remembered as well."""
        customers = [self._customer(tenant_id, one.customer) if one.customer else b"" for one in told]
        tickets = [self._ticket(tenant_id, one.ticket) if one.ticket else b"" for one in told]
        erased = await self._store.erased(
            tenant_id, {digest for digest in (*customers, *tickets) if digest}, datetime.now(UTC) - KEPT
        )
        if not erased:
            return [True] * len(told)
        barred: dict[bytes, datetime] = {ticket: erased[ticket] for ticket in tickets if ticket in erased}
        may = []
        for one, customer, ticket in zip(told, customers, tickets, strict=True):
            since = erased.get(customer)
            before = since is not None and one.began <= since
            if before and since is not None and ticket and ticket not in barred:
                barred[ticket] = since
                await self._store.remember(tenant_id, {ticket}, since)
            may.append(not before and ticket not in barred)
        if not all(may):
            _log.info("erased_customer_kept_away", count=may.count(False))
        return may

    def _customer(self, tenant_id: UUID, text: str) -> bytes:
        return self._digest(tenant_id, b"customer", text.strip().casefold().encode("utf-8", "surrogatepass"))

    def _ticket(self, tenant_id: UUID, ticket: Ticket) -> bytes:
        connection, external_id = ticket
        return self._digest(tenant_id, b"ticket", connection.bytes, external_id.encode("utf-8", "surrogatepass"))

    def _digest(self, tenant_id: UUID, *parts: bytes) -> bytes:
        return hmac.digest(self._key, length_prefixed([tenant_id.bytes, *parts]), "sha256")
