"""Takes a customer out of the inbox: what a provider sent about them goes, the fact that something was sent stays.

A delivery goes when it belongs to one of the customer's tickets, when it mentions one of their ids or addresses, or
when it belongs to the same ticket as one that does. What was to be written to the customer's tickets goes altogether.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from re import Pattern
from uuid import UUID

import structlog

from servicekit.envelope import SealBrokenError
from services.crm.admission import conversation_number, pack, unpack
from services.crm.credentials import open_payload, seal_payload
from services.crm.erasure_store import Erasing, ErasureStore, Kept
from services.crm.keyring import Keyring
from services.crm.mentions import mentioning, mentions
from services.crm.providers.provider import Request

_log = structlog.get_logger(__name__)

AT_ONCE = 200
"""How many deliveries are looked at in one transaction."""

MOST_PER_CALL = 20_000
"""How many are looked at in one call: a few seconds' worth."""

_NOTHING = pack(Request("", "/", (), b""), ())


@dataclass(frozen=True, slots=True)
class Erased:
    """How many deliveries lost their content, how many were looked at, and where to go on; None at the end."""

    erased: int
    seen: int
    after: UUID | None


class CustomerErasure:
    """Erases customers from deliveries."""

    def __init__(self, store: ErasureStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    async def erase(
        self, tenant_id: UUID, *, tickets: Collection[tuple[UUID, str]], mentioned: Collection[str], after: UUID | None
    ) -> Erased:
        """Erase for a few seconds, from the delivery after `after` on; `tickets` are connections with external ids.

        Raises:
            DatabaseUnavailableError: what was erased stays so; go on from the same place.
        """
        pattern = mentioning(mentioned)
        known = {conversation_number(connection, ticket) for connection, ticket in tickets}
        place, erased, seen = after or UUID(int=0), 0, 0
        if after is None:
            async with self._store.transaction(tenant_id) as erasing:
                await erasing.erase_writes(tickets)
        while seen < MOST_PER_CALL:
            async with self._store.transaction(tenant_id) as erasing:
                some = await erasing.some(place, AT_ONCE)
                hit = {one.conversation for one in some if await self._mentions(tenant_id, one, pattern)}
                hit |= known.intersection(one.conversation for one in some)
                # Also what of the same conversations was looked at before, and was not known to belong to the customer.
                erased += await self._empty(tenant_id, erasing, hit)
            seen += len(some)
            if len(some) < AT_ONCE:
                return Erased(erased, seen, None)
            place = some[-1].id
        return Erased(erased, seen, place)

    async def _mentions(self, tenant_id: UUID, kept: Kept, pattern: Pattern[bytes] | None) -> bool:
        if pattern is None:
            return False
        try:
            sealer = await self._keyring.sealer(tenant_id, kept.key_version)
            request = unpack(open_payload(sealer, kept.payload, tenant_id=tenant_id, delivery=kept.id))
        except (KeyError, SealBrokenError):
            # Nobody can read it any more, so that there is nothing to erase.
            _log.warning("delivery_unreadable", delivery_id=str(kept.id))
            return False
        return mentions(request, pattern)

    async def _empty(self, tenant_id: UUID, erasing: Erasing, conversations: Collection[int]) -> int:
        """Empty all deliveries of these conversations."""
        if not conversations:
            return 0
        found = await erasing.of_conversations(sorted(conversations))
        version, sealer = await self._keyring.newest_or_first(tenant_id)
        emptied: Sequence[Kept] = [
            Kept(
                each.id,
                each.conversation,
                version,
                seal_payload(sealer, _NOTHING, tenant_id=tenant_id, delivery=each.id),
            )
            for each in found
        ]
        await erasing.erase(emptied, datetime.now(UTC))
        return len(emptied)
