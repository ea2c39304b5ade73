"""Takes a customer out of the inbox: what a provider sent about them goes, the fact that something was sent stays.

All deliveries of the customer's tickets go, also those that wait, and with them what was to be written there. Beside
these a delivery goes when it mentions one of the customer's ids or addresses, and nothing but that delivery; one that
is pending is left to be processed, since a mention alone does not say that it is about them.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from uuid import UUID

import structlog

from servicekit.envelope import SealBrokenError, Sealer
from services.crm.admission import conversation_number, pack, unpack
from services.crm.credentials import open_payload, seal_payload
from services.crm.deliveries import State
from services.crm.erasure_store import Content, Erasing, ErasureStore, Kept
from services.crm.forgotten import Forgotten
from services.crm.keyring import Keyring
from services.crm.mentions import Mention, Mentions
from services.crm.providers.provider import Request

_log = structlog.get_logger(__name__)

AT_ONCE = 200
BYTES_AT_ONCE = 4 * 1024 * 1024
"""How many deliveries are looked at in one transaction, and how much content, though one at least."""

MOST_PER_CALL = 20_000
"""How many are looked at in one call: a few seconds' worth."""

MOST_HITS = 1000
"""About how many hits one call tells of, so that the answer stays small."""

_NOTHING = pack(Request("", "/", (), b""), ())


@dataclass(frozen=True, slots=True)
class Hit:
    """A delivery that goes, or stays because it waits; without a mention it belongs to one of the tickets."""

    delivery: UUID
    state: State
    mention: Mention | None


@dataclass(frozen=True, slots=True)
class Erased:
    """What a call did: the hits, how many of them lost their content, how many deliveries it looked at, where to go on.

    `after` is None at the end.
    """

    hits: Sequence[Hit]
    erased: int
    seen: int
    after: UUID | None


class CustomerErasure:
    """Erases customers from deliveries."""

    def __init__(self, store: ErasureStore, keyring: Keyring, forgotten: Forgotten) -> None:
        self._store = store
        self._keyring = keyring
        self._forgotten = forgotten

    async def erase(
        self,
        tenant_id: UUID,
        *,
        tickets: Collection[tuple[UUID, str]],
        mentioned: Collection[str],
        after: UUID | None,
        only_tell: bool = False,
    ) -> Erased:
        """Erase for a few seconds, from the delivery after `after` on; `tickets` are connections with external ids.

        With `only_tell` nothing changes.

        Raises:
            DatabaseUnavailableError: what was erased stays so; go on from the same place.
        """
        known = {conversation_number(connection, ticket) for connection, ticket in tickets}
        hits: list[Hit] = []
        erased = 0
        if after is None and not only_tell:
            # First of all, so that nothing of the customer comes in behind the erasure.
            await self._forgotten.remember(tenant_id, customers=mentioned, tickets=tickets)
            async with self._store.transaction(tenant_id) as erasing:
                await erasing.erase_writes(tickets)
            erased = await self._erase_conversations(tenant_id, known)
        mentions, place, seen = Mentions(mentioned), after or UUID(int=0), 0
        if not mentions and not (only_tell and known):
            return Erased(hits, erased, seen, None)
        while seen < MOST_PER_CALL and len(hits) < MOST_HITS:
            async with self._store.transaction(tenant_id) as erasing:
                some = _first_of(await erasing.some(place, AT_ONCE))
                found = await self._found(tenant_id, erasing, some, mentions)
                new = [
                    Hit(each.id, each.state, found.get(each.id))
                    for each in some
                    if each.id in found or each.conversation in known
                ]
                if not only_tell:
                    erased += len(await self._empty(tenant_id, erasing, [hit.delivery for hit in new], pending=False))
            hits += new
            seen += len(some)
            if not some:
                return Erased(hits, erased, seen, None)
            place = some[-1].id
        return Erased(hits, erased, seen, place)

    async def _erase_conversations(self, tenant_id: UUID, conversations: Collection[int]) -> int:
        """Empty all deliveries of these conversations; return how many."""
        erased = 0
        while conversations:
            async with self._store.transaction(tenant_id) as erasing:
                some = await erasing.of_conversations(conversations, AT_ONCE)
                # Jobs before deliveries, as everywhere, so that two transactions never wait for each other in a circle.
                await erasing.drop_jobs(some)
                erased += len(await self._empty(tenant_id, erasing, [each.id for each in some], pending=True))
            # A replay may have come between the two; from here on there is none of what is erased.
            async with self._store.transaction(tenant_id) as erasing:
                await erasing.drop_jobs(some)
            if not some:
                break
        return erased

    async def _found(
        self, tenant_id: UUID, erasing: Erasing, some: Sequence[Kept], mentions: Mentions
    ) -> Mapping[UUID, Mention]:
        """Return what is mentioned in which delivery."""
        if not mentions:
            return {}
        contents = await erasing.contents([each.id for each in some])
        sealers: dict[int, Sealer] = {}
        for version in {content.key_version for content in contents}:
            try:
                sealers[version] = await self._keyring.sealer(tenant_id, version)
            except KeyError:
                # Nobody can read it any more, so that there is nothing to erase.
                _log.warning("delivery_key_missing", key_version=version)
        return await asyncio.to_thread(_search, tenant_id, contents, sealers, mentions)

    async def _empty(
        self, tenant_id: UUID, erasing: Erasing, ids: Collection[UUID], *, pending: bool
    ) -> Sequence[UUID]:
        """Take away what these deliveries hold; return those that held something."""
        if not ids:
            return ()
        version, sealer = await self._keyring.newest_or_first(tenant_id)
        emptied = [
            Content(each, version, seal_payload(sealer, _NOTHING, tenant_id=tenant_id, delivery=each)) for each in ids
        ]
        return await erasing.erase(emptied, datetime.now(UTC), pending=pending)


def _first_of(some: Sequence[Kept]) -> Sequence[Kept]:
    """Return as many as may be looked at in one transaction, one at least."""
    sizes = accumulate(each.size for each in some)
    return [
        each for number, (each, size) in enumerate(zip(some, sizes, strict=True)) if not number or size <= BYTES_AT_ONCE
    ]


def _search(
    tenant_id: UUID, contents: Iterable[Content], sealers: Mapping[int, Sealer], mentions: Mentions
) -> dict[UUID, Mention]:
    """Return what is mentioned in which delivery; meant for a thread: opening and reading may take a while."""
    found = {}
    for content in contents:
        if content.key_version not in sealers:
            continue
        try:
            packed = open_payload(
                sealers[content.key_version], content.payload, tenant_id=tenant_id, delivery=content.id
            )
        except SealBrokenError:
            _log.warning("delivery_unreadable", delivery_id=str(content.id))
            continue
        if (mention := mentions.find(unpack(packed))) is not None:
            found[content.id] = mention
    return found
