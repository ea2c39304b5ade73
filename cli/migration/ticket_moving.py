"""The step of a run that moves tickets and what is known of how their customers can be reached."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.recommendations.v1 import customer_service_pb2
from rapport.tickets.v1 import migration_service_pb2 as forms

from cli.migration.mapping import Rules
from cli.migration.moving import MovingTicket, judged_tickets, moving_tickets
from cli.migration.ownership import Owners
from cli.migration.source import Source
from cli.migration.state import State
from cli.migration.target import Sent, Target
from cli.migration.translating import prepared

_SHOPS_AT_ONCE = 3
_CONTACTS_AT_ONCE = 100
_READ_AT_ONCE = 200
_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]+")

Advance = Callable[[str, int], None]
"""Is told what was done, and how much of it."""


class TicketMoving:
    """Moves tickets of all shops of a plan."""

    def __init__(self, slugs: Iterable[str], rules: Rules, target: Target, state: State, advance: Advance) -> None:
        self._slugs = frozenset(slugs)
        self._rules = rules
        self._target = target
        self._state = state
        self._advance = advance
        self._reserve = 0
        self._one_shop = bool(rules.one_shop)

    async def reserve(self, source: Source) -> None:
        """Ask up to which number tickets have numbers there: those that are opened in Rapport get higher ones."""
        number = "substring(ticket_number FROM '^[Tt]-([0-9]{1,14})$')"
        query = f"SELECT max({number}::bigint) FROM {source.places['tickets'].sql}"  # noqa: S608
        self._reserve = int(await source.connection.fetchval(query) or 0)

    async def move(self, source: Source, owners: Owners, page_size: int) -> None:
        """Move all tickets in the order of their ids, from behind the last page that was moved whole."""
        cursor = self._state.get("tickets")
        if cursor == "done":
            return
        after = UUID(cursor) if cursor else None
        async with aclosing(moving_tickets(source, owners, self._rules, after, page_size)) as pages:
            async for page in pages:
                await self.send(page, cursor=str(page[-1].source.id))
                self._advance("tickets", len(page))
        self._state.put("tickets", "done")

    async def again(self, source: Source, owners: Owners, ids: Sequence[UUID]) -> tuple[set[UUID], set[UUID]]:
        """Move tickets that changed at the source as they are now.

        Return which of them are gone there, and which were left because their customers were not known by `owners`.
        """
        gone, unknown = set(ids), set()
        for start in range(0, len(ids), _READ_AT_ONCE):
            found = await source.tickets_by_id(ids[start : start + _READ_AT_ONCE])
            gone -= {one.id for one in found}
            known = owners.of(one.customer for one in found)
            strange = {one.id for one in found if one.customer and one.customer not in known and not self._one_shop}
            await self.send(judged_tickets([one for one in found if one.id not in strange], owners, self._rules))
            unknown |= strange
        return gone, unknown

    async def send(self, page: Sequence[MovingTicket], *, cursor: str = "") -> None:
        """Send tickets to their shops; the cursor is kept when all were taken."""
        by_shop: dict[str, list[forms.WholeTicket]] = defaultdict(list)
        refused: list[tuple[str, str, str]] = []
        left_out: list[tuple[str, str, str]] = []
        for moving in page:
            one = prepared(moving)
            if one.whole is None or one.slug not in self._slugs:
                refused.append((str(one.id), one.slug, one.reason or "its shop is not in the plan"))
                continue
            by_shop[one.slug].append(one.whole)
            left_out += [(key, one.slug, reason) for key, reason in moving.judged.left_out]
        gate = asyncio.Semaphore(_SHOPS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = {slug: group.create_task(self._to_shop(gate, slug, some)) for slug, some in by_shop.items()}
        behind = {legacy_id for task in tasks.values() for legacy_id in task.result().behind}
        # Before the cursor is kept: who is killed in between sends them again.
        await self._contacts(
            {slug: [one for one in some if one.legacy_id not in behind] for slug, some in by_shop.items()}
        )
        with self._state.together():
            for slug, task in tasks.items():
                self._keep(slug, task.result(), by_shop[slug])
            for key, slug, reason in refused:
                self._state.refuse("tickets", key, slug, reason)
            for key, slug, reason in left_out:
                self._state.refuse("messages", key, slug, reason)
            if cursor:
                self._state.put("tickets", cursor)

    async def _to_shop(self, gate: asyncio.Semaphore, slug: str, tickets: list[forms.WholeTicket]) -> Sent:
        async with gate:
            return await self._target.send_tickets(slug, tickets, self._reserve)

    def _keep(self, slug: str, sent: Sent, tickets: Sequence[forms.WholeTicket]) -> None:
        for outcome, count in sent.outcomes.items():
            self._state.count(slug, f"tickets_{outcome}", count)
        wrong = dict(sent.refused)
        for ticket in tickets:
            if reason := wrong.get(ticket.legacy_id):
                self._state.refuse("tickets", ticket.legacy_id, slug, reason)
            else:
                self._state.accept("tickets", ticket.legacy_id)
        for legacy_id, theirs, ours in sent.renumbered:
            self._state.refuse("numbers", legacy_id, slug, f"T-{theirs:03d} was taken: it is T-{ours:03d} now")

    async def _contacts(self, by_shop: dict[str, list[forms.WholeTicket]]) -> None:
        """Send how customers can be reached: what their newest message of these tickets says."""
        newest: dict[tuple[str, str], Any] = {}
        for slug, tickets in by_shop.items():
            for ticket in tickets:
                for one in ticket.messages:
                    key = (slug, ticket.customer_id)
                    if one.from_agent or not ticket.customer_id or not _ADDRESS.fullmatch(one.author_email):
                        continue
                    if key not in newest or newest[key].create_time.seconds <= one.create_time.seconds:
                        newest[key] = one
        wanted: dict[str, list[customer_service_pb2.SetCustomerContactRequest]] = defaultdict(list)
        for (slug, customer), message in newest.items():
            if not self._state.contact_known(slug, customer, _text(message)):
                wanted[slug].append(
                    customer_service_pb2.SetCustomerContactRequest(
                        customer_id=customer,
                        email=message.author_email,
                        display_name=message.author_name,
                        change_time=message.create_time,
                    )
                )
        gate = asyncio.Semaphore(_SHOPS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for slug, contacts in wanted.items():
                for start in range(0, len(contacts), _CONTACTS_AT_ONCE):
                    group.create_task(self._reach(gate, slug, contacts[start : start + _CONTACTS_AT_ONCE]))

    async def _reach(
        self, gate: asyncio.Semaphore, slug: str, contacts: list[customer_service_pb2.SetCustomerContactRequest]
    ) -> None:
        """Send contacts of a shop; one that is refused does not keep the others back."""
        request = customer_service_pb2.SetCustomerContactsRequest(contacts=contacts)
        try:
            async with gate:
                await self._target.call(slug, self._target.customers.SetCustomerContacts, request)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION):
                raise
            if len(contacts) == 1:
                key = f"{slug}/{contacts[0].customer_id}"
                self._state.refuse("contacts", key, slug, "its address is none that Rapport takes")
                return
            half = len(contacts) // 2
            await self._reach(gate, slug, contacts[:half])
            await self._reach(gate, slug, contacts[half:])
            return
        with self._state.together():
            for one in contacts:
                self._state.know_contact(slug, one.customer_id, _stamp(one.change_time))
            self._state.count(slug, "contacts", len(contacts))


def _text(message: forms.WholeMessage) -> str:
    return _stamp(message.create_time)


def _stamp(moment: Timestamp) -> str:
    return f"{moment.seconds:012d}.{moment.nanos:09d}"
