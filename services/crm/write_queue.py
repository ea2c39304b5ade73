"""Makes changes at helpdesks: each until it stands there, once, or until it is known that it cannot be made."""

import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import grpc
import structlog
from prometheus_client import Counter

from servicekit.errors import UnavailableError
from servicekit.identity import Principal
from services.crm.calling.engine import MakeSteps, Result
from services.crm.calling.failures import OutOfReachError
from services.crm.errands import Errand
from services.crm.errors import ConnectionNotFoundError
from services.crm.keyring import Keyring
from services.crm.outcomes import REFUSED_TENANT_WAIT
from services.crm.providers.api import ApiError
from services.crm.write_store import Outcome, Sealed, WriteStore
from services.crm.writing import AFTERMATH, FEATURE, MOST_ATTEMPTS, State, Write, change_of, next_try, open_content

_log = structlog.get_logger(__name__)

SETTLED = Counter("rapport_writes_settled_total", "Changes at helpdesks that a worker was done with.", ("state",))

NOT_COUNTED = frozenset({"RATE_LIMITED", "CIRCUIT_OPEN"})
"""Reasons that say nothing about the change: it was not even tried."""

WORTH_REPEATING = frozenset({"ANSWER_NOT_UNDERSTOOD", "CONFLICT", "TICKET_BUSY"})
"""Refusals that may pass: somebody else changed the ticket between our reading and our writing, for example."""

_NOT_SERVED = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION})


class Calls(Protocol):
    """What carries out the steps of a provider's API."""

    async def run(self, tenant_id: UUID, connection_id: UUID, make_steps: MakeSteps[Result]) -> Result:
        """Carry out steps for a connection and return what they end with."""


class WriteQueue:
    """The queue of changes, as an `ErrandWorker` works it.

    `known_as` tells a tenant's features, as they were a while ago at the most; after `forget` as they are now.
    """

    def __init__(
        self,
        store: WriteStore,
        keyring: Keyring,
        calls: Calls,
        *,
        known_as: Callable[[UUID], Awaitable[Principal]],
        forget: Callable[[UUID], None],
        refused_tenants: Callable[[], Collection[UUID]] = frozenset,
        aftermath: timedelta = AFTERMATH,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._calls = calls
        self._known_as = known_as
        self._forget = forget
        self._refused_tenants = refused_tenants
        self._aftermath = aftermath
        self._chance = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._last_tenant = UUID(int=0)

    async def claim(self, wanted: int, lease: timedelta) -> Sequence[Errand]:
        """Claim due changes, tenants in turn."""
        errands = await self._store.claim(after=self._last_tenant, wanted=wanted, lease=lease)
        if errands:
            self._last_tenant = errands[-1].tenant_id
        return errands

    async def extend(self, errand: Errand, lease: timedelta) -> datetime | None:
        """Hold a change for another while."""
        return await self._store.extend(errand, lease)

    async def carry_out(self, errand: Errand) -> None:
        """Make a change and write down what became of it."""
        write, sealed = await self._store.content(errand)
        outcome = await self._outcome(errand, write, sealed)
        await self._store.settle(errand, outcome)
        SETTLED.labels(outcome.state.value).inc()

    async def _outcome(self, errand: Errand, write: Write, sealed: Sealed | None) -> Outcome:
        if sealed is None:
            return _final(errand, State.DONE)
        if errand.attempts > MOST_ATTEMPTS:
            # The last attempt never ended: it may be the one that took a worker down.
            return _final(errand, State.DEAD, "ATTEMPTS_EXHAUSTED")
        objection = await self._objection(errand)
        if objection is not None:
            return objection
        try:
            return await self._made(errand, write, sealed)
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad change must not stop the others
            return self._failed(errand, error)

    def _failed(self, errand: Errand, error: Exception) -> Outcome:
        """Return what becomes of a change that could not be made."""
        match error:
            case OutOfReachError():
                return self._again(errand, error.reason, asked=error.retry_after, doubtful=error.done)
            case ApiError() if error.reason in WORTH_REPEATING:
                return self._again(errand, error.reason)
            case ApiError() | ConnectionNotFoundError():
                return _final(errand, State.DEAD, error.reason)
            case _:
                _log.error("write_failed", write_id=str(errand.subject), error=type(error).__name__)
                return self._again(errand, "WRITE_FAILED", doubtful=True)

    async def _objection(self, errand: Errand) -> Outcome | None:
        """Return what becomes of a change of a tenant for which nothing may be written now; None when it may."""
        if errand.tenant_id in self._refused_tenants():
            return _resting(errand, "TENANT_REFUSED", REFUSED_TENANT_WAIT)
        try:
            tenant = await self._known_as(errand.tenant_id)
            if FEATURE not in tenant.features:
                # It may have been turned on since.
                self._forget(errand.tenant_id)
                tenant = await self._known_as(errand.tenant_id)
        except grpc.aio.AioRpcError as error:
            if error.code() in _NOT_SERVED:
                return _resting(errand, "TENANT_REFUSED", REFUSED_TENANT_WAIT)
            return _resting(errand, "TENANT_OUT_OF_REACH", timedelta(seconds=1))
        return None if FEATURE in tenant.features else _final(errand, State.DEAD, "WRITE_BACK_OFF")

    async def _made(self, errand: Errand, write: Write, sealed: Sealed) -> Outcome:
        """Make the change, unless the vendor has it already."""
        sealer = await self._keyring.sealer(errand.tenant_id, sealed.key_version)
        content = open_content(sealer, sealed.payload, tenant_id=errand.tenant_id, write=write.id)
        change = change_of(write.id, write.kind, content)
        made = await self._calls.run(
            errand.tenant_id,
            write.connection_id,
            lambda api, config: api.write(config, write.external_id, change),
        )
        return _final(errand, State.DONE, made=made)

    def _again(self, errand: Errand, reason: str, *, asked: float | None = None, doubtful: bool = False) -> Outcome:
        """Return the next attempt, or the end of them."""
        counted = errand.attempts - 1 if reason in NOT_COUNTED else errand.attempts
        if counted >= MOST_ATTEMPTS:
            return _final(errand, State.DEAD, reason)
        least = self._aftermath if doubtful else timedelta(seconds=asked or 0)
        wait = max(next_try(max(counted, 1), chance=self._chance), least)
        return Outcome(State.PENDING, reason, counted, datetime.now(UTC) + wait)


def _final(errand: Errand, state: State, reason: str = "", *, made: bool = False) -> Outcome:
    return Outcome(state, reason, errand.attempts, made=made)


def _resting(errand: Errand, reason: str, wait: timedelta) -> Outcome:
    """Return the outcome of a change that was not tried: this attempt does not count."""
    return Outcome(State.PENDING, reason, errand.attempts - 1, datetime.now(UTC) + wait)
