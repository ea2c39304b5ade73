"""The audit log as every service writes it: acts of administration, and refused credentials that name a tenant.

An act is written down before it is done, so that none is done unseen; its outcome is added when it is over.
Refusals are counted in memory and written down each second: a stranger must not make us write per request.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import grpc
import structlog
from prometheus_client import Counter as Metric
from rapport.tenant.v1 import audit_entry_pb2, audit_service_pb2, audit_service_pb2_grpc

from servicekit.errors import UnavailableError
from servicekit.identity import Workload
from servicekit.ids import uuid7
from servicekit.logs import describe_exception

_log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.0
_MOST_REFUSALS = 1000
_MOST_OF_TENANT = 100
_SEVERAL = "*"
_MOST_PER_WRITE = 500
_TIMEOUT_SECONDS = 5.0
# A connection that was lost since its last use is noticed by the first try; the next one makes a new one.
_PAUSES = (0.05, 0.3, 1.0, None)
_LOST = Metric("rapport_audit_refusals_lost_total", "Refusals that found no room between two writes of the audit log.")


class Kind(StrEnum):
    """What an entry tells of."""

    ACT = "act"
    REFUSAL = "refusal"


class AuditUnavailableError(UnavailableError):
    """The audit log is out of reach, and nothing is done that it would not know of."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One act, or refusals of one kind; the fields are those of `rapport.tenant.v1.AuditEntry`.

    `tenant` is a slug or an id that the request named where the caller is bound to no tenant; the registry knows whose
    log that is.
    """

    entry_id: UUID
    tenant_id: UUID | None
    kind: Kind
    create_time: datetime
    subject: str
    method: str
    resource: str = ""
    request_id: str = ""
    outcome: str = ""
    count: int = 1
    tenant: str = ""


Write = Callable[[Sequence[Entry]], Awaitable[None]]


class AuditTrail:
    """Writes entries down; `write` stores them, and raises when it cannot."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._refusals: Counter[tuple[UUID, str, str, str]] = Counter()
        self._kinds: Counter[UUID] = Counter()
        self._late_refusals: list[Entry] = []
        # They are few: while the log is out of reach no act begins.
        self._late_outcomes: list[Entry] = []

    async def begin(self, act: Entry) -> None:
        """Write an act down before it is done.

        Raises:
            AuditUnavailableError: it could not be written, so it must not be done.
        """
        for pause in _PAUSES:
            try:
                # An entry has an id of its own: writing it again changes nothing.
                await self._write([act])
            except Exception as error:
                if pause is None:
                    _log.exception("audit_unavailable", method=act.method, error=describe_exception(error))
                    raise AuditUnavailableError(
                        "The audit log is out of reach; nothing was done. Try again."
                    ) from error
                await asyncio.sleep(pause)
            else:
                return

    async def finish(self, act: Entry, outcome: str) -> None:
        """Add how the act ended; when that cannot be written now it is tried again each second."""
        done = replace(act, outcome=outcome)
        try:
            await self._write([done])
        except Exception as error:  # noqa: BLE001 - the act is done, and its caller must hear so
            _log.warning("audit_outcome_late", method=act.method, error=type(error).__name__)
            self._late_outcomes.append(done)

    def refused(self, tenant_id: UUID, subject: str, method: str, reason: str) -> None:
        """Count a refused credential that names a tenant.

        What goes beyond a hundred kinds of one tenant between two writes becomes one entry of several kinds, "*".
        """
        key = (tenant_id, subject, method, reason)
        if key not in self._refusals and self._kinds[tenant_id] >= _MOST_OF_TENANT:
            key = (tenant_id, _SEVERAL, _SEVERAL, _SEVERAL)
        if key not in self._refusals:
            if len(self._refusals) >= _MOST_REFUSALS:
                _LOST.inc()
                return
            self._kinds[tenant_id] += 1
        self._refusals[key] += 1

    async def flush(self) -> None:
        """Write down what was counted; what cannot be written is kept for the next time."""
        self._take_refusals()
        for waiting in (self._late_outcomes, self._late_refusals):
            entries = list(waiting)
            for start in range(0, len(entries), _MOST_PER_WRITE):
                some = entries[start : start + _MOST_PER_WRITE]
                try:
                    await self._write(some)
                except Exception as error:  # noqa: BLE001 - writing goes on as long as the process lives
                    # An entry keeps its id: should the write have come through after all, a repeat changes nothing.
                    _log.warning("audit_entries_late", count=len(some), error=type(error).__name__)
                else:
                    written = {entry.entry_id for entry in some}
                    waiting[:] = [entry for entry in waiting if entry.entry_id not in written]

    def _take_refusals(self) -> None:
        """Make entries of what was counted; the oldest are lost when too many wait."""
        now = datetime.now(UTC)
        self._late_refusals += [
            Entry(uuid7(), tenant_id, Kind.REFUSAL, now, subject, method, outcome=reason, count=count)
            for (tenant_id, subject, method, reason), count in self._refusals.items()
        ]
        self._refusals.clear()
        self._kinds.clear()
        surplus = self._late_refusals[:-_MOST_REFUSALS]
        _LOST.inc(sum(entry.count for entry in surplus))
        del self._late_refusals[: len(surplus)]

    async def run(self) -> None:
        """Write down each second, for ever, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                await self.flush()
        finally:
            await self.flush()


@asynccontextmanager
async def keeping(write: Write) -> AsyncIterator[AuditTrail]:
    """Give a trail for as long as the context lasts; what was counted is written down at its end."""
    trail = AuditTrail(write)
    writing = asyncio.create_task(trail.run(), name="audit_trail")
    try:
        yield trail
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


def remote(workload: Workload, channel: grpc.aio.Channel) -> Write:
    """Return how a service writes to the log: by the tenant service, which keeps it."""
    stub = audit_service_pb2_grpc.AuditServiceStub(channel)

    async def write(entries: Sequence[Entry]) -> None:
        request = audit_service_pb2.RecordAuditEntriesRequest(entries=[message_of(entry) for entry in entries])
        await stub.RecordAuditEntries(request, metadata=await workload.metadata(), timeout=_TIMEOUT_SECONDS)

    return write


def message_of(entry: Entry) -> audit_entry_pb2.AuditEntry:
    """Return the entry as the contract has it."""
    message = audit_entry_pb2.AuditEntry(
        id=str(entry.entry_id),
        tenant_id=str(entry.tenant_id or ""),
        kind=audit_entry_pb2.AuditEntry.Kind.Value(f"KIND_{entry.kind.name}"),
        subject=entry.subject,
        method=entry.method,
        resource=entry.resource,
        request_id=entry.request_id,
        outcome=entry.outcome,
        count=entry.count,
        tenant=entry.tenant,
    )
    message.create_time.FromDatetime(entry.create_time)
    return message
