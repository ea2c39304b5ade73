"""Rotations of keys while everything runs: what is left to do is read from the data keys, so a killed one goes on.

Of all processes one works at a time. A rotation to a key-encryption key is only done by a process whose settings name
that key as the active one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from servicekit.database import Database
from servicekit.envelope import SealBrokenError, new_data_key, wrapped_by
from servicekit.errors import DomainError
from servicekit.kek import KekProvider
from servicekit.logs import describe_exception
from services.crm.data_keys import OpenKeys, WrappedKey, open_all, wrap_older
from services.crm.key_store import KeyStore
from services.crm.keyring import LONGEST_SECONDS
from services.crm.rotation_store import RotationStore
from services.crm.rotations import DATA_KEYS, KEK, KeyStatus, Rotation
from services.crm.sealed import SealedTable

_LOOK_SECONDS = 5.0
_TIDY_SECONDS = 600.0
_TENANTS = 50
_CALLS_AT_ONCE = 8
_TASK = "crm.key_rotations"
_BROKEN = "SEAL_BROKEN"
_EVER = datetime.fromtimestamp(0, UTC)

UNUSED_AFTER = timedelta(seconds=2 * LONGEST_SECONDS)
"""When no process seals under a replaced data key any more: none uses a key for as long without looking."""

_log = structlog.get_logger()

Work = Callable[[UUID], Awaitable[None]]
Page = Callable[[UUID | None, int], Awaitable[list[UUID]]]


class KeyJobs:
    """Starts rotations, works on them in the background, and says how they stand."""

    def __init__(self, database: Database, keys: KeyStore, rotations: RotationStore, keks: KekProvider) -> None:
        self._database = database
        self._keys = keys
        self._rotations = rotations
        self._keks = keks
        self._bell = asyncio.Event()

    async def status(self) -> KeyStatus:
        """Return which key-encryption key wraps how much, and the latest rotations.

        Raises:
            KekUnavailableError: the provider cannot be asked which key is active.
        """
        uses, older = await self._rotations.uses()
        return KeyStatus(await self._keks.active(), uses, older, await self._rotations.latest())

    async def rotate_kek(self) -> Rotation:
        """Let every data key be wrapped by the active key-encryption key; returns what goes on already, if it does.

        Raises:
            KekUnavailableError: the provider cannot be asked which key is active.
        """
        rotation = await self._rotations.start(KEK, await self._keks.active())
        self._bell.set()
        return rotation

    async def rotate_data_keys(self) -> Rotation:
        """Let every tenant get a new data key and its secrets be sealed anew; returns what goes on already."""
        rotation = await self._rotations.start(DATA_KEYS, "")
        self._bell.set()
        return rotation

    async def rotate_one(self, tenant_id: UUID) -> None:
        """Give one tenant a new data key and seal its secrets anew, at once.

        Raises:
            KekUnavailableError: the provider is out of reach.
        """
        await self._renew(tenant_id, datetime.now(UTC))

    async def run(self) -> None:
        """Work on what there is until cancelled."""
        tidy_at = 0.0
        clock = asyncio.get_running_loop().time
        while True:
            try:
                if rotations := await self._rotations.running():
                    await self._work(rotations)
                elif clock() >= tidy_at:
                    tidy_at = clock() + _TIDY_SECONDS
                    await self.tidy()
            except DomainError as error:
                _log.warning("key_rotation_waits", reason=error.reason)
            except Exception as error:  # noqa: BLE001 - whatever happens, it is tried again
                _log.error("key_rotation_failed", error=describe_exception(error))
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._bell.wait()
            except TimeoutError:
                pass
            self._bell.clear()

    async def tidy(self) -> None:
        """Finish what was left undone, and remove the data keys that nothing needs any more.

        Left undone is what a killed process left half sealed, and what a process that had not yet heard of the latest
        key-encryption key wrapped by the one before. A tenant whose keys do not open stops nobody behind it.
        """
        async with self._database.alone(_TASK) as still:
            if still is None:
                return
            target = await self._rotations.latest_target()
            # Only where this process wraps by it as well: during a rollout two do not wrap back and forth.
            if target and await self._keks.active() == target:
                await self._tidy_each(
                    partial(self._rotations.wrapped_otherwise, target), partial(self._rewrap, target=target)
                )
            await self._tidy_each(partial(self._rotations.to_rotate, _EVER), self._seal_anew)
            before = datetime.now(UTC) - UNUSED_AFTER
            await self._tidy_each(partial(self._rotations.with_older_keys, before), self._drop_unneeded)

    async def _tidy_each(self, page: Page, work: Work) -> None:
        """Do the work for every tenant of all pages."""
        after = None
        while tenants := await page(after, _TENANTS):
            after = tenants[-1]
            problems = await self._each(tenants, work)
            if delayed := next((problem for problem in problems if problem not in {"", _BROKEN}), ""):
                _log.warning("key_tidying_waits", reason=delayed)
                return

    async def _drop_unneeded(self, tenant_id: UUID) -> None:
        # A process may have sealed under an older key after the rotation had passed.
        await self._seal_anew(tenant_id)
        if dropped := await self._keys.drop_unneeded(tenant_id):
            _log.info("data_keys_dropped", tenant_id=str(tenant_id), count=dropped)

    async def _work(self, rotations: list[Rotation]) -> None:
        async with self._database.alone(_TASK) as still:
            if still is None:
                return
            for rotation in rotations:
                try:
                    await self._work_on(rotation, still)
                except DomainError as error:
                    await self._tell(rotation, error.reason)

    async def _work_on(self, rotation: Rotation, still: Callable[[], Awaitable[bool]]) -> None:
        if rotation.kind == DATA_KEYS:
            await self._round(rotation, partial(self._renew, before=rotation.created), still)
        elif await self._keks.active() == rotation.target:
            await self._round(rotation, partial(self._rewrap, target=rotation.target), still)
        else:
            await self._tell(rotation, "ACTIVE_KEK_DIFFERS")

    async def _tell(self, rotation: Rotation, problem: str) -> None:
        """Note what a rotation waits for."""
        _log.warning("key_rotation_waits", reason=problem, target=rotation.target)
        waiting = await self._rotations.count_waiting(rotation)
        await self._rotations.note(rotation, waiting=waiting, failed=0, problem=problem, over=False)

    async def _round(self, rotation: Rotation, work: Work, still: Callable[[], Awaitable[bool]]) -> None:
        """Come to every tenant that waits, once; the rotation is over when only those wait that cannot be opened."""
        waiting, failed, after = await self._rotations.count_waiting(rotation), 0, None
        while tenants := await self._rotations.waiting(rotation, after, _TENANTS):
            after = tenants[-1]
            problems = await self._each(tenants, work)
            failed += problems.count(_BROKEN)
            waiting -= problems.count("")
            delayed = next((problem for problem in problems if problem not in {"", _BROKEN}), "")
            problem = delayed or (_BROKEN if failed else "")
            await self._rotations.note(rotation, waiting=waiting, failed=failed, problem=problem, over=False)
            if delayed or not await still():
                return
        # Only who had been read before another came in between is still to be done.
        waiting = await self._rotations.count_waiting(rotation)
        problem = _BROKEN if failed else ""
        over = waiting <= failed
        await self._rotations.note(rotation, waiting=waiting, failed=failed, problem=problem, over=over)

    async def _each(self, tenants: list[UUID], work: Work) -> list[str]:
        """Do the work for each tenant, some at a time; return what stood in its way, empty where nothing did."""
        limit = asyncio.Semaphore(_CALLS_AT_ONCE)

        async def one(tenant_id: UUID) -> str:
            async with limit:
                try:
                    await work(tenant_id)
                except DomainError as error:
                    return error.reason
                except SealBrokenError:
                    _log.error("data_key_not_opened", tenant_id=str(tenant_id))
                    return _BROKEN
                return ""

        return await asyncio.gather(*(one(tenant_id) for tenant_id in tenants))

    async def _rewrap(self, tenant_id: UUID, target: str) -> None:
        """Wrap a tenant's newest data key by the target, unless it was replaced while this was done."""
        found = await self._keys.data_keys(tenant_id)
        if found and wrapped_by(found[0].wrapped) != target:
            data_key = await self._keks.unwrap(found[0].wrapped, tenant_id)
            await self._keys.replace_wrap(tenant_id, found[0], await self._keks.wrap(data_key, tenant_id))

    async def _renew(self, tenant_id: UUID, before: datetime) -> None:
        """Give a tenant a new data key unless it has one from after that time, and seal its secrets anew."""
        made = await self._keys.newest_made(tenant_id)
        if made is not None and made < before:
            found = await self._keys.data_keys(tenant_id)
            opened = await self._open(found, tenant_id)
            version, data_key = opened.newest + 1, new_data_key()
            new = WrappedKey(version, await self._keks.wrap(data_key, tenant_id))
            older = wrap_older(data_key, version, opened.keys, tenant_id)
            await self._keys.add_data_key(tenant_id, found[0], new, older)
        await self._seal_anew(tenant_id)

    async def _seal_anew(self, tenant_id: UUID) -> None:
        """Seal under the newest data key whatever waits for it; opens no key when nothing does."""
        found = await self._keys.data_keys(tenant_id)
        if not found:
            return
        if await self._keys.any_to_reseal(tenant_id, found[0].version):
            opened = await self._open(found, tenant_id)
            sealers = opened.sealers()

            def anew(sealed: SealedTable, row: Mapping[str, Any]) -> bytes:
                content = sealed.open(sealers[row["key_version"]], tenant_id, row)
                return sealed.seal(sealers[opened.newest], content, tenant_id, row)

            while await self._keys.reseal(tenant_id, opened.newest, anew):
                pass
        await self._keys.mark_resealed(tenant_id, found[0].version)

    async def _open(self, found: list[WrappedKey], tenant_id: UUID) -> OpenKeys:
        return open_all(await self._keks.unwrap(found[0].wrapped, tenant_id), found, tenant_id)
