"""The control plane: what changes in the world (addresses, certificates, keys, shares) becomes what Envoy is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import jwt
import structlog

from gateway.addresses import Endpoints, HostPort, resolve
from gateway.ads.cache import SnapshotCache, SnapshotRefusedError
from gateway.ads.snapshot import EMPTY, Snapshot
from gateway.certificates import Certificates
from gateway.edge.resources import Edge, snapshot, with_share
from gateway.predecessor import Cutover, CutoverFile, PredecessorNotFoundError
from gateway.shifts import Shift, ShiftFile
from gateway.sides import Sides
from servicekit.certificates import write
from servicekit.errors import PreconditionError
from servicekit.identity import keys_of

log = structlog.get_logger(__name__)

KEY_FILE = "jwks.json"
SHIFT_FILE = "shifts.json"
CUTOVER_FILE = "cutover.json"
RESOLVE_SECONDS = 5.0
CERTIFICATE_SECONDS = 0.5
SHIFT_SECONDS = 10.0
"""How long a shift waits for the Envoys."""


class ConfigurationRefusedError(PreconditionError):
    """An Envoy refused the changed configuration, so everything is as it was before."""


class ControlPlane:
    """Keeps the cache's snapshot up to date; `certificates` reads those that are to be served now."""

    def __init__(
        self,
        edge: Edge,
        services: Mapping[str, tuple[HostPort, ...]],
        cache: SnapshotCache,
        certificates: Callable[[], Certificates],
        folder: Path,
    ) -> None:
        """Begin with what was kept in the folder: the shares of versions, and the keys that were known last."""
        self._edge = edge
        self._services = services
        self._cache = cache
        self._endpoints: Endpoints = {}
        self._key_file = folder / KEY_FILE
        self._jwks = _kept_keys(self._key_file)
        self._read_certificates = certificates
        self._certificates = certificates()
        self._shift_file = ShiftFile(folder / SHIFT_FILE)
        self._shifts: Mapping[str, Shift] = self._shift_file.read(services)
        self._cutover_file = CutoverFile(folder / CUTOVER_FILE)
        self._cutover = self._cutover_file.read()
        self.sides = Sides()
        self.sides.judge = self._judge
        self._back: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._publishing = asyncio.Lock()
        self._shifting = asyncio.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """The services and their further versions (`<service>@<version>`)."""
        return tuple(self._services)

    @property
    def shifts(self) -> Mapping[str, Shift]:
        """The shifts by service."""
        return self._shifts

    @property
    def cutover(self) -> Cutover | None:
        """The cut-over, None when there is none, or no predecessor any more."""
        return self._cutover if self._edge.predecessor is not None else None

    async def run(self, key_sets: AsyncIterator[str]) -> None:
        """Work until cancelled."""
        await self._resolve()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_names())
            tasks.create_task(self._follow_certificates())
            tasks.create_task(self._follow_keys(key_sets))
            tasks.create_task(self._follow_changes())

    async def shift(self, wanted: Shift) -> bool:
        """Shift traffic and keep the share for later; True when every connected Envoy does so, and there is one.

        Raises:
            ConfigurationRefusedError: an Envoy refused it; the share is what it was.
            OSError: the share cannot be kept; the share is what it was.
        """
        async with self._shifting:
            before = self._shifts
            self._shifts = {**before, wanted.service: wanted}
            try:
                self._shift_file.write(self._shifts)
                return await self._cache.taken(await self._publish(), SHIFT_SECONDS)
            except (SnapshotRefusedError, ValueError, OSError) as error:
                self._shifts = before
                self._changed.set()
                if isinstance(error, OSError):
                    raise
                self._shift_file.write(before)
                raise ConfigurationRefusedError(str(error)) from error

    async def cut_over(self, wanted: Cutover) -> bool:
        """Set the share of a cut-over and keep it; True when every connected Envoy does so, and there is one.

        Raises:
            PredecessorNotFoundError: there is no predecessor.
            ConfigurationRefusedError: an Envoy refused it; the share is what it was.
            OSError: the share cannot be kept; the share is what it was. The way back does not wait for that: a share of
                0 that cannot be kept (a full disk) counts until this process ends, and the log says so.
        """
        if self._edge.predecessor is None:
            raise PredecessorNotFoundError(
                "The gateway knows no predecessor: set RAPPORT_GATEWAY_PREDECESSOR_URL and start it again."
            )
        async with self._shifting:
            before = self._cutover
            self._cutover = wanted
            try:
                if wanted.percent:
                    self._cutover_file.write(wanted)
                published = await self._publish_share(wanted)
                self.sides.begin()
                if not wanted.percent:
                    self._keep(wanted)
                return await self._cache.taken(published, SHIFT_SECONDS)
            except (SnapshotRefusedError, ValueError, OSError) as error:
                self._cutover = before
                self._changed.set()
                if isinstance(error, OSError):
                    raise
                self._keep(before)
                raise ConfigurationRefusedError(str(error)) from error

    def _keep(self, cutover: Cutover | None) -> None:
        try:
            self._cutover_file.write(cutover)
        except OSError as error:
            log.error("cutover_not_kept", error=error.strerror)  # noqa: TRY400 - the text says all

    def _judge(self) -> None:
        """Send everything back to the predecessor when Rapport's side fails too often; nobody needs to watch."""
        cutover = self._cutover
        if cutover is None or not cutover.percent or (self._back is not None and not self._back.done()):
            return
        why = self.sides.too_many(cutover.max_error_percent, cutover.window_seconds)
        if why:
            self._back = asyncio.create_task(self._go_back(cutover, why))

    async def _go_back(self, cutover: Cutover, why: str) -> None:
        log.error("cutover_returned", percent=cutover.percent, why=why)
        try:
            await self.cut_over(cutover.back(why))
        except (ConfigurationRefusedError, OSError) as error:
            # The next report tries again.
            log.error("cutover_not_returned", error=str(error))  # noqa: TRY400 - the text says all

    async def _resolve(self) -> None:
        endpoints = await resolve(self._services, self._endpoints)
        if endpoints != self._endpoints:
            self._endpoints = endpoints
            self._changed.set()

    async def _follow_names(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_SECONDS)
            await self._resolve()

    async def _follow_certificates(self) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            try:
                certificates = await asyncio.to_thread(self._read_certificates)
            except OSError as error:
                log.error("certificates_unreadable", error=str(error))  # noqa: TRY400 - the text says all
                continue
            if certificates != self._certificates:
                self._certificates = certificates
                self._changed.set()

    async def _follow_keys(self, key_sets: AsyncIterator[str]) -> None:
        async for jwks in key_sets:
            if not _has_keys(jwks):
                # Envoy would refuse it, and the keys known so far are better than none.
                log.error("key_set_unusable")
                continue
            self._jwks = jwks
            self._changed.set()
            try:
                write(self._key_file, jwks.encode())
            except OSError as error:
                log.warning("keys_not_kept", error=error.strerror)

    async def _follow_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._publish()
            except ValueError as error:
                log.error("snapshot_invalid", error=str(error))  # noqa: TRY400 - the text says all, the frames nothing

    async def _publish_share(self, cutover: Cutover) -> Snapshot:
        """Publish what is published with another share, at once: failures go on until it is in effect."""
        async with self._publishing:
            whole = self._cache.wanted
            if whole is not EMPTY:
                self._cache.publish(with_share(whole, cutover))
                return self._cache.wanted
        return await self._publish()

    async def _publish(self) -> Snapshot:
        """Publish what follows from the world as it is now, and return what is published.

        Raises:
            ValueError: it is no configuration that Envoy would take.
        """
        # One after the other: what was begun earlier must not replace what was begun later.
        async with self._publishing:
            # Building takes tenths of a second of pure computing: streams go on meanwhile.
            target = await asyncio.to_thread(
                snapshot, self._edge, self._endpoints, self._jwks, self._certificates, self._shifts, self._cutover
            )
            self._cache.publish(target)
            return self._cache.wanted


def _kept_keys(path: Path) -> str | None:
    """Return the public keys that were known last, so that a restart without the tenant service forgets none."""
    try:
        jwks = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return jwks if _has_keys(jwks) else None


def _has_keys(jwks: str) -> bool:
    try:
        return bool(keys_of(jwks))
    except (jwt.PyJWTError, ValueError):
        return False
