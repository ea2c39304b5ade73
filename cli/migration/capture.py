"""What changes at the source while rows move: by logical replication where that is allowed, else by looking again.

A change only says which ticket to read again; what is sent is always what the source says by then. So a change
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
    """Tickets to be read again; `last`: there is nothing more for now; `mark`: up to where this reaches."""

    tickets: Sequence[UUID]
    last: bool
    mark: str


class Capture(Protocol):
    """Tells what changed."""

    @property
    def kind(self) -> str:
        """How: "logical" or "delta"."""

    @property
    def poll_seconds(self) -> float:
        """After how long to ask again when there was nothing more."""

    async def changes(self, at_most: int) -> Changes:
        """Return what changed and was not taken yet, about so many changes."""

    async def taken(self, changes: Changes) -> None:
        """Give changes up: what they named has been moved."""

    async def close(self) -> None:
        """Close the connection; what was not taken is told again."""


async def open_capture(
    url: str, plan: Plan, source: Source, state: State, *, delta: bool, finish: bool = False
) -> Capture | None:
    """Begin to follow changes, or go on as it was begun; with `delta` by looking again.

    With `finish` nothing is begun any more: None where nothing was followed, or the source forgot it, since everything
    is compared then.

    Raises:
        CommandError: the plan says that replication is allowed, and it is not.
    """
    import asyncpg

    begun = state.get("capture")
    if finish and (not begun or (begun == "logical" and not await _has_slot(source, plan))):
        return None
    if (begun or ("delta" if delta else plan.capture)) == "delta":
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


async def end_capture(url: str, plan: Plan, state: State) -> None:
    """Follow no more, and leave nothing behind at the source, whoever began it."""
    name = _name(plan)
    connection = await connect(url, read_only=False)
    try:
        await connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", name
        )
        query = "SELECT pubname FROM pg_publication WHERE pubname = ANY($1)"
        for row in await connection.fetch(query, [name, f"{name}_inserts"]):
            await connection.execute(f"DROP PUBLICATION IF EXISTS {row['pubname']}")
    finally:
        await connection.close(timeout=5)
    state.forget("capture")


def _name(plan: Plan) -> str:
    """Return how a plan's slot and publication are called at the source."""
    return f"rapport_migrate_{hashlib.sha256(f'{plan.made} {plan.origin.fingerprint}'.encode()).hexdigest()[:12]}"


async def _has_slot(source: Source, plan: Plan) -> bool:
    query = "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1"
    return bool(await source.connection.fetchval(query, _name(plan)))


class LogicalCapture:
    """Reads the source's log through a replication slot of its own."""

    kind = "logical"
    poll_seconds = 1.0

    def __init__(
        self, connection: "asyncpg.Connection[Any]", source: Source, name: str, publications: list[str]
    ) -> None:
        self._connection = connection
        self._name = name
        self._publications = publications
        self._tables = {(place.schema, place.name): name for name, place in source.places.items()}

    @classmethod
    async def open(
        cls, connection: "asyncpg.Connection[Any]", plan: Plan, source: Source, state: State
    ) -> "LogicalCapture":
        """Make the publications and the slot where they are missing."""
        name = _name(plan)
        followed = [source.places[one] for one in _TICKET_TABLES if one in source.places]
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
        return cls(connection, source, name, publications)

    async def changes(self, at_most: int) -> Changes:
        """Return what changed, in the order of the log; a transaction is told whole."""
        rows = await self._connection.fetch(_PEEK, self._name, at_most, ",".join(self._publications))
        tickets: dict[UUID, None] = {}
        for change in changes_of(row["data"] for row in rows):
            self._note(change, tickets)
        mark = rows[-1]["lsn"] if rows else ""
        return Changes(list(tickets), len(rows) < at_most, mark)

    def _note(self, change: Change, tickets: dict[UUID, None]) -> None:
        column = "id" if self._tables.get((change.schema, change.table)) == "tickets" else "ticket_id"
        # Of a deleted message only its own id is told: the comparison at the end finds what it belonged to.
        value = change.values.get(column)
        if value is not None:
            tickets[UUID(value)] = None

    async def taken(self, changes: Changes) -> None:
        """Let the source forget its log up to there."""
        if changes.mark:
            await self._connection.execute(
                "SELECT pg_replication_slot_advance($1, $2::text::pg_lsn)", self._name, changes.mark
            )

    async def close(self) -> None:
        """Close the connection; the slot stays."""
        await self._connection.close(timeout=5)


class DeltaCapture:
    """Looks again at what says that it is newer than the last look; what says nothing is found by comparing."""

    kind = "delta"
    poll_seconds = 30.0

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
        """Return all tickets that are newer than the last look; times of the source are in UTC."""
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
        return Changes([row["id"] for row in rows], True, now.isoformat())

    async def taken(self, changes: Changes) -> None:
        """Look from there on the next time."""
        self._state.put("delta", changes.mark)

    async def close(self) -> None:
        """The connection is the source's own."""

    async def _now(self) -> datetime:
        found: datetime = await self._source.connection.fetchval("SELECT now() AT TIME ZONE 'UTC'")
        return found
