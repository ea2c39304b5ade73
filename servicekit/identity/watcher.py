"""Follows the tenant service's stream of trust sets, so that every service judges tokens by itself."""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable, Mapping
from uuid import UUID

import grpc
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from rapport.tenant.v1 import token_service_pb2, token_service_pb2_grpc

from servicekit.identity.tokens import keys_of
from servicekit.identity.trust import MAX_AGE
from servicekit.identity.workload import Workload

_log = structlog.get_logger(__name__)

# The stream repeats itself every five seconds as a sign of life: two missed ones mean that it is dead.
_SILENCE_SECONDS = 12.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


class TrustWatcher:
    """A `Trust` that stays true by a stream; it reconnects by itself, for as long as the process lives."""

    def __init__(
        self, workload: Workload, channel: grpc.aio.Channel, *, on_keys: Callable[[str], None] = lambda _: None
    ) -> None:
        """Follow by this workload's token; `on_keys` is told each new key set (JSON text)."""
        self._workload = workload
        self._on_keys = on_keys
        self._tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        self._keys: Mapping[str, EllipticCurvePublicKey] = {}
        self._jwks_json = ""
        self._refused_tenants: frozenset[UUID] = frozenset()
        self._revoked_keys: frozenset[str] = frozenset()
        self._heard = -math.inf
        self._task: asyncio.Task[None] | None = None

    @property
    def keys(self) -> Mapping[str, EllipticCurvePublicKey]:
        """The public keys by key id."""
        return self._keys

    @property
    def refused_tenants(self) -> frozenset[UUID]:
        """The tenants whose tokens are refused."""
        return self._refused_tenants

    @property
    def revoked_keys(self) -> frozenset[str]:
        """The API keys whose tokens are refused."""
        return self._revoked_keys

    @property
    def age(self) -> float:
        """Seconds since the stream last said something; infinite before the first time."""
        return time.monotonic() - self._heard

    def ready(self) -> bool:
        """Tell whether what is known is fresh enough to judge tokens by; a component of the health."""
        return self.age <= MAX_AGE

    async def start(self) -> None:
        """Begin to follow the stream; returns at once."""
        self._task = asyncio.create_task(self._follow(), name="trust_watcher")

    async def stop(self) -> None:
        """Stop to follow."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            heard = self._heard
            try:
                await self._read()
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                    self._workload.forget()
                _log.warning("trust_stream_ended", code=error.code().name)
            except (jwt.PyJWTError, ValueError, TimeoutError) as error:
                _log.warning("trust_stream_ended", error=type(error).__name__)
            pause = _FIRST_PAUSE if self._heard > heard else min(pause * 2, _LONGEST_PAUSE)
            # Jitter, so that the processes of a suite do not all come back in the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret depends on it

    async def _read(self) -> None:
        """Take sets from one stream until it ends."""
        metadata = await self._workload.metadata()
        stream = self._tokens.WatchTrust(token_service_pb2.WatchTrustRequest(changes_only=True), metadata=metadata)
        try:
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    message = await stream.read()
                if not isinstance(message, token_service_pb2.TrustSet):
                    return
                self._take(message)
        finally:
            stream.cancel()

    def _take(self, message: token_service_pb2.TrustSet) -> None:
        """Replace what is known, or change it where the message says that it holds changes only."""
        refused = frozenset(UUID(tenant_id) for tenant_id in message.refused_tenant_ids)
        revoked = frozenset(message.revoked_key_ids)
        if message.partial:
            refused = self._refused_tenants - {UUID(restored) for restored in message.restored_tenant_ids} | refused
            revoked = self._revoked_keys - set(message.restored_key_ids) | revoked
        if message.jwks_json != self._jwks_json:
            self._keys = keys_of(message.jwks_json)
            self._jwks_json = message.jwks_json
            self._on_keys(message.jwks_json)
        self._refused_tenants = refused
        self._revoked_keys = revoked
        self._heard = time.monotonic()
