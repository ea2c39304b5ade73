"""The SQL of the hot paths: what every webhook passes runs as one statement each on the raw driver.

The statements themselves are functions that the migrations make.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from servicekit.database import Database
from services.crm.admission import Admission
from services.crm.deliveries import State

_ACQUIRE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job; `attempts` counts this one.

    It is this worker's until `leased_until` by the clock of the database, which only names the claim, and until
    `ours_until` by this process's own `time.monotonic()`: two clocks are never compared. `trace` names the span by
    which the delivery came in, if its trace is recorded, and `received` when it came in, unless it is replayed; both
    are known once it is read.
    """

    tenant_id: UUID
    conversation: int
    seq: int
    delivery_id: UUID
    leased_until: datetime
    attempts: int
    ours_until: float
    trace: str = ""
    received: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a claimed job: a final state, or pending until `next_run`; `attempts` is what counts of them."""

    job: Job
    state: State
    reason: str
    attempts: int
    next_run: datetime


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery's sealed bytes and what is needed to read them."""

    id: UUID
    connection_id: UUID
    provider: str
    key_version: int
    payload: bytes
    received: datetime
    replay_count: int


class Store:
    """The service's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # The hot paths.

    async def admit(self, admissions: Sequence[Admission]) -> list[bool]:
        """Store webhooks durably in one round trip and one transaction; tell for each whether it is no copy."""
        rows = await self._database.fetch(
            "SELECT crm.admit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS fresh",
            [admission.tenant_id for admission in admissions],
            [admission.delivery_id for admission in admissions],
            [admission.connection_id for admission in admissions],
            [admission.provider for admission in admissions],
            [admission.dedupe_key for admission in admissions],
            [admission.conversation for admission in admissions],
            [admission.secret_version for admission in admissions],
            [admission.key_version for admission in admissions],
            [admission.payload for admission in admissions],
            [admission.received for admission in admissions],
        )
        return list(rows[0]["fresh"])

    async def claim(self, *, after: UUID, tenants: int, share: int, lease: timedelta) -> list[Job]:
        """Claim due jobs of up to `tenants` tenants, those after `after` first, at most `share` of each."""
        ours_until = time.monotonic() + lease.total_seconds()
        rows = await self._database.fetch("SELECT * FROM crm.claim_heads($1, $2, $3, $4)", after, tenants, share, lease)
        return [Job(**row, ours_until=ours_until) for row in rows]

    async def sealed_deliveries(self, tenant_id: UUID, ids: Sequence[UUID]) -> dict[UUID, StoredDelivery]:
        """Return the deliveries with their sealed bytes."""
        async with self._database.driver_tenant(tenant_id) as connection:
            rows = await connection.fetch(
                "SELECT id, connection_id, provider, key_version, payload, receive_time, replays FROM crm.deliveries"
                " WHERE tenant_id = $1 AND id = ANY ($2)",
                tenant_id,
                list(ids),
            )
        return {row["id"]: StoredDelivery(*row.values()) for row in rows}

    async def settle(self, tenant_id: UUID, outcomes: Sequence[Outcome]) -> int:
        """Write down what became of claimed jobs; return how many were still this worker's."""
        async with self._database.driver_tenant(tenant_id) as connection:
            settled = await connection.fetchval(
                "SELECT crm.settle_jobs($1, $2, $3, $4, $5, $6, $7, $8)",
                tenant_id,
                [outcome.job.conversation for outcome in outcomes],
                [outcome.job.seq for outcome in outcomes],
                [outcome.job.leased_until for outcome in outcomes],
                [outcome.state.value for outcome in outcomes],
                [outcome.reason for outcome in outcomes],
                [outcome.attempts for outcome in outcomes],
                [outcome.next_run for outcome in outcomes],
            )
        return int(settled)
