"""`rapport migrate rollback`: writes back to the source what changed in Rapport, or says exactly what cannot be.

Ids are the same on both sides, so that it may be interrupted and repeated: what is there is not written again. A field
that the source changed later than Rapport keeps the source's value, and is told of.
"""

import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rapport.tickets.v1 import migration_service_pb2 as forms

from cli.errors import CommandError
from cli.migration.judging import judge
from cli.migration.places import Place
from cli.migration.plan import Plan
from cli.migration.source import Source, connect
from cli.migration.state import State
from cli.migration.target import Target
from cli.migration.translating import whole_ticket
from cli.operator import operator_of
from cli.suite.folder import SuiteFolder

if TYPE_CHECKING:
    import asyncpg

_EXAMPLES = 20
_NUMBER = "substring(ticket_number FROM '^[Tt]-([0-9]{1,14})$')"
_FIELDS = ("customer_id", "subject", "channel", "status", "priority", "assigned_to")

Advance = Callable[[str, int], None]
"""Is told what was done, and how much of it."""

ALWAYS_LOST = (
    ("recommendations", "the predecessor computes its own: they were caches there"),
    ("orders and contacts that came to Rapport since", "the predecessor's sales come from its own import"),
    ("policies, promises, alerts, articles", "the predecessor has nothing like them"),
    ("API keys and webhook addresses", "the predecessor's own still work: nobody changed them"),
)
"""What the predecessor cannot hold, whoever writes it."""


@dataclass(frozen=True)
class Options:
    """How it is written back.

    Attributes:
        url: the source's address, of a user who may write.
        state: the run's file.
        dry_run: only say what would be written.
    """

    url: str
    state: Path
    dry_run: bool = False


@dataclass
class Told:
    """What was written, and what could not be: by kind and reason the tickets."""

    written: Counter[str] = field(default_factory=Counter)
    lost: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    lost_counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def lose(self, what: str, reason: str, ticket: str) -> None:
        """Note what cannot be written back."""
        key = (what, reason)
        self.lost_counts[key] += 1
        if len(self.lost[key]) < _EXAMPLES:
            self.lost[key].append(ticket)

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        names = ("tickets", "fields", "messages", "notes")
        cannot = [
            {"what": what, "reason": reason, "count": count, "tickets": self.lost[what, reason]}
            for (what, reason), count in sorted(self.lost_counts.items())
        ]
        cannot += [{"what": what, "reason": reason} for what, reason in ALWAYS_LOST]
        return {"rollback": {name: self.written[name] for name in names}, "cannot": cannot}


async def write_back(folder: SuiteFolder, plan: Plan, options: Options, advance: Advance) -> dict[str, Any]:
    """Write back what changed in Rapport since it was imported, and return what was written and what could not be.

    Raises:
        CommandError: the run's file is missing or another one, the source is another one or may not be written, or a
            call was refused; the command goes on.
    """
    told = Told()
    if not options.state.exists():
        raise CommandError(f"There is no state of a run in {options.state}: give --state.", reason="STATE_UNKNOWN")
    with State.open(options.state, plan) as state:
        shops = [shop for shop in plan.shops if state.get(f"tenant:{shop.slug}")]
        if not shops:
            raise CommandError(f"No shop was moved by {options.state}: give --state.", reason="STATE_UNKNOWN")
        async with Source.open(options.url, plan.origin.tables) as source, operator_of(folder) as operator:
            if source.fingerprint != plan.origin.fingerprint:
                raise CommandError("This is not the source that the plan was made for.", reason="SOURCE_IS_ANOTHER")
            target = Target(operator, batch=1, rate=0)
            connection = await connect(options.url, read_only=options.dry_run)
            try:
                back = _Back(plan, source, connection, told, dry_run=options.dry_run)
                for shop in shops:
                    async for changed in changed_tickets(target, shop.slug):
                        await back.write(changed)
                        advance("tickets", 1)
            finally:
                await connection.close(timeout=5)
        if not options.dry_run:
            state.put("rolled_back", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    return told.as_dict() | {"dry_run": options.dry_run}


async def changed_tickets(target: Target, slug: str) -> AsyncIterator[forms.ChangedTicket]:
    """Give a shop's tickets that are not as they were imported."""
    token = ""
    while True:
        request = forms.ListChangedTicketsRequest(page_size=50, page_token=token)
        page = await target.call(slug, target.tickets.ListChangedTickets, request)
        for one in page.tickets:
            yield one
        token = page.next_page_token
        if not token:
            return


class _Back:
    """Writes tickets into the source, each in a transaction of its own."""

    def __init__(
        self, plan: Plan, source: Source, connection: "asyncpg.Connection[Any]", told: Told, *, dry_run: bool
    ) -> None:
        self._plan = plan
        self._source = source
        self._connection = connection
        self._told = told
        self._dry_run = dry_run

    async def write(self, changed: forms.ChangedTicket) -> None:
        """Write one ticket; what the source refuses is told and does not keep the others back."""
        import asyncpg

        ticket = changed.ticket
        for mark in changed.marks:
            self._told.lose(mark, "the predecessor has no such mark", ticket.id)
        before = Counter(self._told.written)
        try:
            async with self._connection.transaction():
                await self._write(changed)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            self._told.written = before
            self._told.lose("tickets", f"the source refuses it: {error.__class__.__name__}", ticket.id)

    async def _write(self, changed: forms.ChangedTicket) -> None:
        ticket = changed.ticket
        found = await self._source.tickets_by_id([UUID(ticket.id)])
        if found:
            judged = judge(found[0], self._plan.rules).ticket
            await self._change(ticket, None if judged is None else whole_ticket(judged))
        elif changed.imported:
            self._told.lose("tickets", "it was deleted at the source", ticket.id)
            return
        else:
            await self._insert(ticket)
        there = {str(one.id) for source in found for one in source.messages}
        there |= {str(one.id) for source in found for one in source.notes}
        for hidden in changed.hidden_message_ids:
            if hidden in there:
                self._told.lose("hidden messages", "the predecessor cannot hide one: it is shown there", ticket.id)
        for message in ticket.messages:
            if message.id not in there:
                await self._add("ticket_messages", _message(ticket, message))
                self._told.written["messages"] += 1
        for note in ticket.notes:
            if note.id not in there:
                await self._add("ticket_notes", _note(ticket, note))
                self._told.written["notes"] += 1

    async def _change(self, ticket: forms.WholeTicket, theirs: forms.WholeTicket | None) -> None:
        """Bring a ticket's fields to Rapport's, unless the source changed it later."""
        if theirs is None:
            self._told.lose("fields", "what the source says of it cannot be compared", ticket.id)
            return
        different = [name for name in _FIELDS if getattr(ticket, name) != getattr(theirs, name)]
        if list(ticket.tags) != list(theirs.tags):
            different.append("tags")
        if not different:
            return
        if theirs.update_time.ToNanoseconds() > ticket.update_time.ToNanoseconds():
            self._told.lose("fields", "the source changed the ticket later: its values stay", ticket.id)
            return
        values = {name: value for name, value in _fields(ticket).items() if name in different}
        if "status" in different:
            values["closed_at"] = _time(ticket.close_time) if ticket.HasField("close_time") else None
        values["updated_at"] = _time(ticket.update_time)
        place = self._source.places["tickets"]
        known = {name: value for name, value in values.items() if name in place.columns}
        sets = ", ".join(f"{name} = {_cast(name, number)}" for number, name in enumerate(known, 2))
        await self._execute(f"UPDATE {place.sql} SET {sets} WHERE id = $1", UUID(ticket.id), *known.values())  # noqa: S608
        self._told.written["fields"] += len(different)

    async def _insert(self, ticket: forms.WholeTicket) -> None:
        place = self._source.places["tickets"]
        # The source's numbers count for all shops together: one that is taken there gets the next one.
        number = await self._connection.fetchval(
            f"SELECT CASE WHEN EXISTS (SELECT FROM {place.sql} WHERE ticket_number = $1) THEN "  # noqa: S608
            f"(SELECT max({_NUMBER}::bigint) + 1 FROM {place.sql}) ELSE $2 END",
            f"T-{ticket.number:03d}",
            ticket.number,
        )
        if number != ticket.number:
            self._told.lose("numbers", "its number is taken at the source: it has another one there", ticket.id)
        values = _fields(ticket) | {
            "id": UUID(ticket.id),
            "ticket_number": f"T-{number:03d}",
            "custom_fields": ticket.metadata_json or "{}",
            "created_at": _time(ticket.create_time),
            "updated_at": _time(ticket.update_time),
            "closed_at": _time(ticket.close_time) if ticket.HasField("close_time") else None,
        }
        await self._add("tickets", values)
        self._told.written["tickets"] += 1

    async def _add(self, table: str, values: dict[str, Any]) -> None:
        place: Place | None = self._source.places.get(table)
        if place is None:
            self._told.lose(table, "the source has no such table", str(values.get("ticket_id", "")))
            return
        known = {name: value for name, value in values.items() if name in place.columns}
        marks = ", ".join(_cast(name, number) for number, name in enumerate(known, 1))
        columns = ", ".join(known)
        await self._execute(f"INSERT INTO {place.sql} ({columns}) VALUES ({marks})", *known.values())  # noqa: S608

    async def _execute(self, statement: str, *values: Any) -> None:
        if not self._dry_run:
            await self._connection.execute(statement, *values)


def _fields(ticket: forms.WholeTicket) -> dict[str, Any]:
    import json

    values: dict[str, Any] = {name: getattr(ticket, name) for name in _FIELDS}
    return values | {"assigned_to": ticket.assigned_to or None, "tags": json.dumps(list(ticket.tags))}


def _message(ticket: forms.WholeTicket, one: forms.WholeMessage) -> dict[str, Any]:
    return {
        "id": UUID(one.id),
        "ticket_id": UUID(ticket.id),
        "from_agent": one.from_agent,
        "content": one.content,
        "author_name": one.author_name,
        "author_email": one.author_email or None,
        "author_id": one.author_id or None,
        "custom_fields": one.metadata_json or "{}",
        "created_at": _time(one.create_time),
    }


def _note(ticket: forms.WholeTicket, one: forms.WholeNote) -> dict[str, Any]:
    return {
        "id": UUID(one.id),
        "ticket_id": UUID(ticket.id),
        "content": one.content,
        "author_name": one.author_name,
        "author_id": one.author_id or None,
        "created_at": _time(one.create_time),
    }


def _time(stamp: Any) -> str:
    return f"{stamp.ToDatetime().isoformat()}+00:00"


def _cast(name: str, number: int) -> str:
    """Return a value's place in a statement; times are written in UTC, whether the column has a zone or not."""
    if name.endswith("_at"):
        # The connection's own time zone is UTC: a column with a zone understands it alike.
        return f"(${number}::text::timestamptz AT TIME ZONE 'UTC')"
    return f"${number}::text::jsonb" if name in {"tags", "custom_fields"} else f"${number}"
