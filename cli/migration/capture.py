"""What changes at the source while rows move: by logical replication where that is allowed, else by looking again.

A change only says which ticket or order to read again; what is sent is always what the source says by then. So a change
may be told twice or late and harms nothing, and one is given up only when what it named has been moved.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from cli.errors import CommandError
from cli.migration.pgoutput import Change, changes_of
from cli.migration.plan import Plan
from cli.migration.source import Source, connect
from cli.migration.state import State

if TYPE_CHECKING:
    import asyncpg

_OVERLAP = timedelta(minutes=2)
"""How far looking again reaches back: a transaction may have begun so long before it ended."""

_TICKET_TABLES = ("tickets", "ticket_messages", "ticket_notes")
_PEEK = """
SELECT lsn::text AS lsn, data FROM pg_logical_slot_peek_binary_changes($1, NULL, $2, 'proto_version', '1',
    'publication_names', $3)
"""


@dataclass(frozen=True)
class Changes:
    """Tickets and orders to be read again; `last`: there is nothing more for now; `mark`: up to where this reaches."""

    tickets: Sequence[UUID]
    orders: Sequence[str]
    last: bool
    mark: str


class Capture(Protocol):
    """Tells what changed."""

    @property
    def kind(self) -> str:
        """How: "logical" or "delta"."""

    async def changes(self, at_most: int) -> Changes:
        """Return what changed and was not taken yet, about so many changes."""

    async def taken(self, changes: Changes) -> None:
        """Give changes up: what they named has been moved."""

    async def end(self) -> None:
        """Follow no more, and leave nothing behind at the source."""

    async def close(self) -> None:
        """Close the connection; what was not taken is told again."""


async def open_capture(url: str, plan: Plan, source: Source, state: State, *, delta: bool) -> Capture:
    """Begin to follow changes, or go on; with `delta` by looking again in any case.

    Raises:
        CommandError: the plan says that replication is allowed, and it is not.
    """
    import asyncpg

    if delta or plan.capture == "delta":
        return await DeltaCapture.open(source, state)
    connection = await connect(url, read_only=False)
    try:
        return await LogicalCapture.open(connection, plan, source, state)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.ObjectNotInPrerequisiteStateError) as error:
        await connection.close(timeout=5)
        raise CommandError(
            f"The source does not let changes be followed by replication: {error}. Run it with --delta to"
            " look again and again instead.",
            reason="REPLICATION_REFUSED",
        ) from error
    except BaseException:
        await connection.close(timeout=5)
        raise


class LogicalCapture:
    """Reads the source's log through a replication slot of its own."""

    kind = "logical"

    def __init__(
        self, connection: "asyncpg.Connection[Any]", source: Source, state: State, name: str, publications: list[str]
    ) -> None:
        self._connection = connection
        self._state = state
        self._name = name
        self._publications = publications
        self._tables = {(place.schema, place.name): name for name, place in source.places.items()}

    @classmethod
    async def open(
        cls, connection: "asyncpg.Connection[Any]", plan: Plan, source: Source, state: State
    ) -> "LogicalCapture":
        """Make the publications and the slot where they are missing."""
        digest = hashlib.sha256(f"{plan.made} {plan.origin.fingerprint}".encode()).hexdigest()[:12]
        name = f"rapport_migrate_{digest}"
        followed = [source.places[one] for one in (*_TICKET_TABLES, "combined_sales") if one in source.places]
        keyed = [place.sql for place in followed if place.has_key]
        # A table without a key could not be updated any more once its updates were published.
        keyless = [place.sql for place in followed if not place.has_key]
        publications = []
        for part, tables, publish in (("", keyed, "insert, update, delete"), ("_inserts", keyless, "insert")):
            if tables:
                publications.append(name + part)
                if not await connection.fetchval("SELECT 1 FROM pg_publication WHERE pubname = $1", name + part):
                    await connection.execute(
                        f"CREATE PUBLICATION {name + part} FOR TABLE {', '.join(tables)} WITH (publish = '{publish}')"
                    )
        known = await connection.fetchval("SELECT 1 FROM pg_replication_slots WHERE slot_name = $1", name)
        if not known:
            if state.get("capture"):
                raise CommandError(
                    "The source has forgotten how far its changes were read: begin with a new plan and state file, or"
                    " go on with --finish, which compares everything.",
                    reason="SLOT_LOST",
                )
            await connection.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", name)
        state.put("capture", cls.kind)
        return cls(connection, source, state, name, publications)

    async def changes(self, at_most: int) -> Changes:
        """Return what changed, in the order of the log; a transaction is told whole."""
        rows = await self._connection.fetch(_PEEK, self._name, at_most, ",".join(self._publications))
        tickets: dict[UUID, None] = {}
        orders: dict[str, None] = {}
        for change in changes_of(row["data"] for row in rows):
            self._note(change, tickets, orders)
        mark = rows[-1]["lsn"] if rows else ""
        return Changes(list(tickets), list(orders), len(rows) < at_most, mark)

    def _note(self, change: Change, tickets: dict[UUID, None], orders: dict[str, None]) -> None:
        table = self._tables.get((change.schema, change.table))
        column = {"tickets": "id", "combined_sales": "order_id"}.get(table or "", "ticket_id")
        # Of a deleted message only its own id is told: the comparison at the end finds what it belonged to.
        value = change.values.get(column)
        if value is None:
            return
        if table == "combined_sales":
            orders[value] = None
        else:
            tickets[UUID(value)] = None

    async def taken(self, changes: Changes) -> None:
        """Let the source forget its log up to there."""
        if changes.mark:
            await self._connection.execute(
                "SELECT pg_replication_slot_advance($1, $2::text::pg_lsn)", self._name, changes.mark
            )

    async def end(self) -> None:
        """Drop the slot and the publications."""
        await self._connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", self._name
        )
        for publication in self._publications:
            await self._connection.execute(f"DROP PUBLICATION IF EXISTS {publication}")
        self._state.forget("capture")

    async def close(self) -> None:
        """Close the connection; the slot stays."""
        await self._connection.close(timeout=5)


class DeltaCapture:
    """Looks again at what says that it is newer than the last look; what says nothing is found by comparing."""

    kind = "delta"

    def __init__(self, source: Source, state: State) -> None:
        self._source = source
        self._state = state

    @classmethod
    async def open(cls, source: Source, state: State) -> "DeltaCapture":
        """Begin at the source's present time, or go on."""
        capture = cls(source, state)
        if not state.get("capture"):
            state.put("delta", (await capture._now()).isoformat())
            state.put("capture", cls.kind)
        return capture

    async def changes(self, at_most: int) -> Changes:
        """Return all tickets and orders that are newer than the last look; times of the source are in UTC."""
        del at_most
        since = datetime.fromisoformat(self._state.get("delta")) - _OVERLAP
        now = await self._now()
        parts = []
        for table, column, moment in (
            ("tickets", "id", "updated_at"),
            ("tickets", "id", "created_at"),
            ("ticket_messages", "ticket_id", "created_at"),
            ("ticket_notes", "ticket_id", "created_at"),
        ):
            place = self._source.places.get(table)
            if place is not None and moment in place.columns:
                parts.append(f"SELECT {column} AS id FROM {place.sql} WHERE {moment}::timestamp >= $1")  # noqa: S608
        rows = await self._source.connection.fetch(" UNION ".join(parts), since)
        orders = []
        if (sales := self._source.places.get("combined_sales")) is not None and "order_date" in sales.columns:
            query = f"SELECT DISTINCT order_id::text AS id FROM {sales.sql} WHERE order_date::timestamp >= $1"  # noqa: S608
            orders = [row["id"] for row in await self._source.connection.fetch(query, since)]
        return Changes([row["id"] for row in rows], orders, True, now.isoformat())

    async def taken(self, changes: Changes) -> None:
        """Look from there on the next time."""
        self._state.put("delta", changes.mark)

    async def end(self) -> None:
        """Forget the last look."""
        self._state.forget("capture")

    async def close(self) -> None:
        """The connection is the source's own."""

    async def _now(self) -> datetime:
        found: datetime = await self._source.connection.fetchval("SELECT now() AT TIME ZONE 'UTC'")
        return found
