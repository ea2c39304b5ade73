"""Models and profiles kept right in the background: one process works on a tenant at a time, by a lease.

A tenant's turn comes when a fit is due or its profiles are of an earlier day. Nothing here runs in a request, and what
one tenant's customers did is never looked at for another: each step is bound to the tenant it works for. What fails for
one tenant holds up nobody else.

Whatever changes more here than the one row of the lease takes the turn of those who change the tenant's customers
(`Customers.changing`) first: imports and renewals want the same rows, and would wait for each other for ever.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.errors import DomainError
from servicekit.ids import uuid7
from servicekit.logs import describe_exception
from services.recommendations import model_store, profile_store, renewal, store, trials
from services.recommendations.currencies import revalue
from services.recommendations.customers import MODELS_BELL, Customers
from services.recommendations.errors import ModelNotFoundError
from services.recommendations.fit_figures import counted_fit
from services.recommendations.model import MOST_FITTED, Model
from services.recommendations.model_store import Fitting, Version
from services.recommendations.store import FreshProfile
from services.recommendations.trials import Outcome

FIT_DAYS = 7
"""How many days after a fit the next one is due."""

RETRY_HOURS = 6
"""How many hours after a fit that failed the next one is due."""

_LEASE_SECONDS = 120
_FIT_SECONDS = 1800.0
_PAUSE_SECONDS = 60
_AT_ONCE = 2_000
_STORED_AT_ONCE = 250
"""How many profiles are stored in one turn: an order that comes meanwhile waits for the end of it."""
_NOTHING = Fitting(served=0, held=False, due_time=None, running=False, end_time=None, verdict="")

_log = structlog.get_logger(__name__)


class LeaseLostError(Exception):
    """Another process has taken the tenant over, or it was erased; this one stops where it is."""


class Modelling:
    """Makes the models of all tenants, and judges their customers anew."""

    def __init__(self, database: Database, customers: Customers, doorbell: Doorbell) -> None:
        self._database = database
        self._customers = customers
        self._doorbell = doorbell
        self._holder = uuid7()

    async def run(self) -> None:
        """Work whenever there is something to do; for ever."""
        while True:
            try:
                while await self.work():
                    pass
            except Exception as error:  # noqa: BLE001 - the next round may work
                _log.warning("modelling_failed", error=describe_exception(error))
            await self._doorbell.wait(MODELS_BELL, _PAUSE_SECONDS)

    async def work(self) -> bool:
        """Do the work of one tenant, if any has some; tell whether there was one."""
        async with self._database.spanning() as connection:
            tenant_id = await model_store.lease(connection, self._customers.now, self._holder, _LEASE_SECONDS)
        if tenant_id is None:
            return False
        pause = 0
        try:
            async with self._holding(tenant_id):
                await revalue(self._database, self._customers, tenant_id)
                await self._fit_if_due(tenant_id)
                await self._renew(tenant_id)
        except LeaseLostError:
            _log.warning("modelling_taken_over", tenant_id=str(tenant_id))
        except Exception as error:  # noqa: BLE001 - the other tenants' turn comes, then this one's again
            pause = _PAUSE_SECONDS
            _log.warning("renewal_failed", tenant_id=str(tenant_id), error=describe_exception(error))
        finally:
            async with self._database.tenant(tenant_id) as connection:
                await model_store.release(connection, tenant_id, self._holder, pause)
        return True

    async def ask_for_fit(self, tenant_id: UUID) -> Fitting:
        """Let a model be made soon, and serve if it is better; also where somebody had gone back to an earlier one."""
        # One row each: nothing is held while the other is waited for, and so no import either.
        async with self._database.tenant(tenant_id) as connection:
            await model_store.let_newer_serve(connection, tenant_id)
        async with self._database.tenant(tenant_id) as connection:
            await profile_store.ask_for_fit(connection, tenant_id, self._customers.now)
            found = await model_store.fitting(connection, tenant_id)
        await self._doorbell.ring(MODELS_BELL)
        return found or _NOTHING

    async def versions(self, tenant_id: UUID) -> tuple[Fitting, Sequence[Version]]:
        """Return how the making of models stands, and all versions, newest first."""
        async with self._database.tenant(tenant_id) as connection:
            found = await model_store.fitting(connection, tenant_id)
            return found or _NOTHING, await model_store.versions(connection, tenant_id)

    async def version(self, tenant_id: UUID, version: int) -> tuple[Fitting, Version]:
        """Return a version, the one that serves for 0.

        Raises:
            ModelNotFoundError: there is no such version, or the published parameters serve.
        """
        async with self._database.tenant(tenant_id) as connection:
            found = await model_store.fitting(connection, tenant_id) or _NOTHING
            wanted = await model_store.versions(connection, tenant_id, version or found.served)
        if not wanted:
            raise _no_model(version)
        return found, wanted[0]

    async def roll_back(self, tenant_id: UUID, version: int) -> Fitting:
        """Let an earlier version serve, and stay; for 0 the one that served before the present one.

        Where none did, the published parameters serve.

        Raises:
            ModelNotFoundError: there is no such version, or nothing earlier than the published parameters.
            CustomersBusyError: the shop's customers are being changed, by an import as it may be.
        """
        async with self._customers.changing(tenant_id) as connection:
            found = await model_store.fitting(connection, tenant_id) or _NOTHING
            if not version and not found.served:
                raise _no_model(version)
            known = await model_store.versions(connection, tenant_id, version or None)
            if version and not known:
                raise _no_model(version)
            earlier = [one.model.version for one in known if one.promoted and one.model.version < found.served]
            await model_store.serve(connection, tenant_id, version or max(earlier, default=0), held=True)
            await profile_store.mark_old(connection, tenant_id)
            found = await model_store.fitting(connection, tenant_id) or _NOTHING
        await self._doorbell.ring(MODELS_BELL)
        return found

    async def _fit_if_due(self, tenant_id: UUID) -> None:
        """Make a model if one is due; where that fails, what serves goes on serving, and a later fit may work."""
        async with self._database.tenant(tenant_id) as connection:
            due = await model_store.fit_due(connection, tenant_id, self._customers.now)
        if due is None:
            return
        pause = timedelta(days=FIT_DAYS)
        try:
            async with asyncio.timeout(_FIT_SECONDS):
                with counted_fit("customers"):
                    await self._fit(tenant_id)
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - days pass for the profiles all the same
            _log.warning("model_fit_failed", tenant_id=str(tenant_id), error=describe_exception(error))
            pause = timedelta(hours=RETRY_HOURS)
            async with self._database.tenant(tenant_id) as connection:
                await model_store.note_verdict(connection, tenant_id, f"failed: {type(error).__name__}")
        async with self._database.tenant(tenant_id) as connection:
            await model_store.plan_fit(connection, tenant_id, due, self._customers.now + pause)

    async def _fit(self, tenant_id: UUID) -> None:
        """Make a model of a tenant's purchases and let it serve if it is better."""
        async with self._database.tenant(tenant_id) as connection:
            shop = await store.load_shop(connection, tenant_id)
            version = await model_store.next_version(connection, tenant_id)
        if shop is None:
            return
        log = await profile_store.purchases(self._database, tenant_id, shop.currency, MOST_FITTED)
        # Seconds of work: not on the loop that answers everybody.
        outcome = await asyncio.to_thread(trials.make, log, shop.model, version)
        async with self._changing(tenant_id) as connection:
            state = await model_store.fitting(connection, tenant_id) or _NOTHING
            present = await store.load_shop(connection, tenant_id)
            if present is None or present.currency != shop.currency:
                outcome = Outcome(None, better=False, verdict="no fit: the shop's currency has changed", figures={})
            promoted = outcome.better and not state.held
            await model_store.finish_fit(connection, tenant_id, outcome, promoted=promoted)
        _log.info("model_fitted", tenant_id=str(tenant_id), version=version, better=outcome.better)

    async def _renew(self, tenant_id: UUID) -> None:
        """Judge those customers of a tenant anew in whose profile something has moved."""
        today = self._customers.today
        async with self._database.tenant(tenant_id) as connection:
            told = await profile_store.times_told(connection, tenant_id)
            shop = await store.load_shop(connection, tenant_id)
        currency, model = (shop.currency, shop.model) if shop else ("EUR", Model())
        waiting, heads, day = [], renewal.Heads(), profile_store.day_number(today)
        async for part in profile_store.figures(self._database, tenant_id, model.name):
            due, counted = await asyncio.to_thread(_look, part, model, currency, day)
            waiting += due
            heads += counted
        async with self._changing(tenant_id) as connection:
            await store.save_archetypes(connection, tenant_id, renewal.archetypes(heads))
        await self._judge_anew(tenant_id, waiting)
        async with self._changing(tenant_id) as connection:
            await profile_store.mark_day(connection, tenant_id, today, told)
        await self._customers.announce(tenant_id)

    async def _judge_anew(self, tenant_id: UUID, waiting: Sequence[str]) -> None:
        """Judge customers, some at once; while the database stores these, the next ones are judged."""
        saving: asyncio.Task[None] | None = None
        try:
            for start in range(0, len(waiting), _AT_ONCE):
                async with self._database.tenant(tenant_id) as connection:
                    await self._hold(connection, tenant_id)
                fresh = await self._customers.judge_anew(tenant_id, waiting[start : start + _AT_ONCE])
                if saving is not None:
                    await saving
                saving = asyncio.create_task(self._store(tenant_id, fresh))
            if saving is not None:
                await saving
        finally:
            if saving is not None:
                saving.cancel()
                await asyncio.gather(saving, return_exceptions=True)

    async def _store(self, tenant_id: UUID, fresh: Sequence[FreshProfile]) -> None:
        """Store profiles in turns that are short, so that orders come in between."""
        for start in range(0, len(fresh), _STORED_AT_ONCE):
            await self._customers.store_judged(tenant_id, fresh[start : start + _STORED_AT_ONCE])

    @contextlib.asynccontextmanager
    async def _changing(self, tenant_id: UUID) -> AsyncIterator[AsyncConnection]:
        """Run one transaction while nobody else changes the tenant's customers, and its work is this process's.

        Raises:
            LeaseLostError: as for `_hold`.
            CustomersBusyError: others went on changing them.
        """
        async with self._customers.changing(tenant_id) as connection:
            await self._hold(connection, tenant_id)
            yield connection

    @contextlib.asynccontextmanager
    async def _holding(self, tenant_id: UUID) -> AsyncIterator[None]:
        """Go on holding the tenant while one step of the work takes longer than the lease."""
        beating = asyncio.create_task(self._beat(tenant_id))
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _beat(self, tenant_id: UUID) -> None:
        held = True
        while held:
            await asyncio.sleep(_LEASE_SECONDS / 4)
            # One that is missed does no harm: the next one comes well before the lease ends.
            with contextlib.suppress(DomainError):
                async with self._database.tenant(tenant_id) as connection:
                    held = await model_store.keep_lease(connection, tenant_id, self._holder, _LEASE_SECONDS)

    async def _hold(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Go on holding the tenant: a shop that was erased meanwhile is not written to, nor is another's work.

        Raises:
            LeaseLostError: the tenant is not this process's any more, or is gone.
        """
        if not await model_store.keep_lease(connection, tenant_id, self._holder, _LEASE_SECONDS):
            raise LeaseLostError


def _look(part: renewal.Figures, model: Model, currency: str, today: int) -> tuple[list[str], renewal.Heads]:
    """Return who of these is to be judged anew, and how many of what kind they are."""
    due = renewal.due(part, model, currency, today)
    ids = [customer for customer, wanted in zip(part.customer_ids, due.tolist(), strict=True) if wanted]
    return ids, renewal.heads(part, currency, today)


def _no_model(version: int) -> ModelNotFoundError:
    return ModelNotFoundError("There is no such model.", metadata={"version": str(version)})
