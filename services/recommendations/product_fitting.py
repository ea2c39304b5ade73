"""Fits the product models in the background: one process at a time, each model in a child process of its own.

A shop is thought of once a day, and at once when somebody asked; without changed orders nothing is fitted.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog

from servicekit.database import Database
from servicekit.doorbell import Doorbell
from services.recommendations import product_model_store
from services.recommendations.customers import Clock, utc_now
from services.recommendations.fit_figures import counted_fit
from services.recommendations.product_desk import vectors_of
from services.recommendations.product_model_store import Attempt, Item, Made
from services.recommendations.product_models import BELL

EVERY = timedelta(days=1)
AGAIN = timedelta(minutes=15)
"""After how long a fit is tried again that failed, or whose process died."""
_LEASE = "recommendations.product_models"
_LOOK_SECONDS = 60.0
_TENANTS_AT_ONCE = 20
_TITLES_AT_ONCE = 500
_FIT_SECONDS = 1800.0
_DAY = timedelta(days=1)

_log = structlog.get_logger(__name__)


class FitFailedError(Exception):
    """The child process could not fit a model."""


class ProductFitting:
    """Fits what is due."""

    def __init__(
        self,
        database: Database,
        doorbell: Doorbell,
        clock: Clock = utc_now,
        refused: Callable[[], Collection[UUID]] = frozenset,
    ) -> None:
        self._database = database
        self._refused = refused
        self._doorbell = doorbell
        self._clock = clock

    async def run(self) -> None:
        """Fit what is due whenever no other process does; for ever."""
        while True:
            try:
                async with self._database.alone(_LEASE) as still_alone:
                    while still_alone is not None and await self.fit_due(still_alone):
                        pass
            except Exception as error:  # noqa: BLE001 - the next round may work
                _log.warning("product_fits_failed", error=type(error).__name__)
            await self._doorbell.wait(BELL, _LOOK_SECONDS)

    async def fit_due(self, still_alone: Callable[[], Any] | None = None) -> int:
        """Look at some shops that are due until one had to be fitted; return how many were looked at.

        A shop that asks while others are fitted so waits for one of them at most: who asked comes first.
        """
        async with self._database.spanning() as connection:
            due = await product_model_store.tenants_due(
                connection, self._clock() - EVERY, _TENANTS_AT_ONCE + len(self._refused())
            )
        seen = 0
        for tenant_id in due:
            if tenant_id in self._refused():
                continue
            if still_alone is not None and not await still_alone():
                break
            try:
                fitted = await self.fit(tenant_id)
            except Exception as error:  # noqa: BLE001 - the other shops must not wait for this one
                _log.warning("product_fit_failed", tenant_id=str(tenant_id), error=type(error).__name__)
                continue
            seen += 1
            if fitted:
                break
        return seen

    async def fit(self, tenant_id: UUID) -> bool:
        """Fit a shop's model if its orders have changed or somebody asked; tell whether there is a new version."""
        now = self._clock()
        async with self._database.driver_tenant(tenant_id) as connection:
            attempt = await product_model_store.begin(connection, tenant_id, now - EVERY + AGAIN)
        if attempt is None:
            return False
        fitted = await self._attempt(tenant_id, attempt, now)
        async with self._database.driver_tenant(tenant_id) as connection:
            await product_model_store.finish(connection, tenant_id, now)
        return fitted

    async def _attempt(self, tenant_id: UUID, attempt: Attempt, now: datetime) -> bool:
        async with self._whole_shop(tenant_id) as connection:
            log = await product_model_store.log(connection, tenant_id, now)
            if log.digest == attempt.digest and not attempt.forgetting:
                return False
            items = await product_model_store.items(connection, tenant_id, log.newest) if log.newest else []
            trial = await product_model_store.trial(connection, tenant_id, attempt.serving_version)
        await self._note(tenant_id, items)
        if log.newest is None or not items:
            async with self._database.driver_tenant(tenant_id) as connection:
                await product_model_store.drop_all(connection, tenant_id)
            return False
        with counted_fit("products"):
            made = await self._fit_apart(tenant_id, items, trial, log.newest)
        serve = made.said["better"] or attempt.forgetting
        async with self._database.driver_tenant(tenant_id) as connection:
            version = await product_model_store.save(
                connection, tenant_id, made, log.newest, serve=serve, digest=log.digest
            )
        if version is None:
            raise FitFailedError
        _log.info("product_model_fitted", tenant_id=str(tenant_id), version=version, better=serve)
        return True

    async def _note(self, tenant_id: UUID, items: Sequence[Item]) -> None:
        """Keep the names of what orders know, a few at a time."""
        async with self._whole_shop(tenant_id) as connection:
            unnamed = await product_model_store.without_name(connection, tenant_id, items)
        fresh = [item for item in items if item.product_id in unnamed]
        for start in range(0, len(fresh), _TITLES_AT_ONCE):
            part = fresh[start : start + _TITLES_AT_ONCE]
            vectors = await vectors_of([item.title for item in part])
            async with self._revising(tenant_id) as (connection, revision):
                await product_model_store.note_ordered(connection, tenant_id, revision, part, vectors)
        async with self._revising(tenant_id) as (connection, revision):
            await product_model_store.forget_ordered(connection, tenant_id, revision, items)

    @asynccontextmanager
    async def _whole_shop(self, tenant_id: UUID) -> AsyncIterator[product_model_store.Connection]:
        """Give a transaction whose statements are planned for a large shop."""
        async with self._database.driver_tenant(tenant_id) as connection:
            await product_model_store.plan_for_many(connection)
            yield connection

    @asynccontextmanager
    async def _revising(self, tenant_id: UUID) -> AsyncIterator[tuple[product_model_store.Connection, int]]:
        """Give a transaction and its new revision of the shop's products.

        Raises:
            FitFailedError: the shop was erased meanwhile; nothing of it may come back.
        """
        async with self._database.driver_tenant(tenant_id) as connection:
            revision = await product_model_store.next_revision(connection, tenant_id)
            if revision is None:
                raise FitFailedError
            yield connection, revision

    async def _fit_apart(self, tenant_id: UUID, items: Sequence[Item], trial: bytes, newest: datetime) -> Made:
        """Return what a child process makes of the purchases, and of the trial of the version in service.

        Raises:
            FitFailedError: it failed or took too long.
        """
        asked = {
            "items": [item.product_id for item in items],
            "hashes": [item.hash for item in items],
            "until": (newest.astimezone(UTC) - datetime.fromtimestamp(0, UTC)) // _DAY + 1,
            "in_service": len(trial),
        }
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.recommendations.products",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_FIT_SECONDS):
                await self._feed(child, tenant_id, orjson.dumps(asked) + b"\n" + trial, newest)
                answer, _ = await child.communicate()
        except (TimeoutError, BrokenPipeError, ConnectionResetError) as error:
            raise FitFailedError from error
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode:
            raise FitFailedError
        line, _, models = answer.partition(b"\n")
        said = orjson.loads(line)
        return Made(said, models[: said["model"]], models[said["model"] :])

    async def _feed(self, child: asyncio.subprocess.Process, tenant_id: UUID, asked: bytes, newest: datetime) -> None:
        """Give a child process the question, and the shop's purchases as they come from the database."""
        stream = child.stdin
        if stream is None:
            raise FitFailedError
        stream.write(asked)

        async def sink(part: bytes) -> None:
            stream.write(part)
            await stream.drain()

        async with self._whole_shop(tenant_id) as connection:
            await product_model_store.copy_lines(connection, tenant_id, newest, sink)
        stream.close()
