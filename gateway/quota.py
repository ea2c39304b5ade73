"""`RateLimitQuotaService`: several Envoys keep to one quota together, by reports in the background.

Each Envoy reports every few seconds what its tenants asked for and is told its share of each tenant's quota. Nobody is
asked per request; with this process away every Envoy goes on with the shares that it has.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import structlog
from envoy_data_plane.envoy.service.rate_limit_quota.v3 import (
    BucketId,
    RateLimitQuotaResponse,
    RateLimitQuotaResponseBucketAction,
    RateLimitQuotaResponseBucketActionQuotaAssignmentAction,
    RateLimitQuotaUsageReports,
    RateLimitQuotaUsageReportsBucketQuotaUsage,
)
from envoy_data_plane.envoy.type.v3 import RateLimitStrategy, TokenBucket

from gateway import shares
from servicekit.quotas import LEAST_QUOTA

log = structlog.get_logger(__name__)

SERVICE = "envoy.service.rate_limit_quota.v3.RateLimitQuotaService"
LASTING = timedelta(seconds=60)
"""How long a share counts. Envoy reports every five seconds, and each report renews it."""
FORGOTTEN_SECONDS = 60.0
"""After what silence an Envoy no longer has a part in a tenant's quota."""
NOTABLE = 0.1
"""By which part a share must change to be told: each change starts with a full bucket."""
BURST_SECONDS = 2

Bucket = tuple[tuple[str, str], ...]


class _Part:
    """What one Envoy has of one tenant's quota: what it was asked for, and what it was told, in requests per second."""

    def __init__(self) -> None:
        self.demand = float("inf")
        self.told = 0.0
        self.heard = time.monotonic()


class _Outbox:
    """What one Envoy has yet to be told: the latest share of each bucket."""

    def __init__(self) -> None:
        self.due: dict[Bucket, float] = {}
        self.filled = asyncio.Event()

    def put(self, bucket: Bucket, share: float) -> None:
        self.due[bucket] = share
        self.filled.set()


class QuotaService:
    """Divides quotas among the Envoys that report; `default` is the quota of who has none, in requests per minute."""

    def __init__(self, default: int) -> None:
        self._default = default
        self._parts: dict[Bucket, dict[str, _Part]] = {}
        self._outboxes: dict[str, _Outbox] = {}
        self._opened = 0
        self._swept = time.monotonic()

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handler that serves this, to be added to a server."""
        stream = grpc.stream_stream_rpc_method_handler(
            self._stream, request_deserializer=RateLimitQuotaUsageReports.parse, response_serializer=bytes
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"StreamRateLimitQuotas": stream})

    async def _stream(
        self, reports: AsyncIterator[RateLimitQuotaUsageReports], _context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[RateLimitQuotaResponse]:
        self._opened += 1
        envoy, outbox = f"envoy-{self._opened}", _Outbox()
        self._outboxes[envoy] = outbox
        log.info("quota_stream_opened", envoy=envoy)
        reader = asyncio.create_task(self._read(envoy, reports, outbox))
        try:
            while not reader.done():
                await outbox.filled.wait()
                outbox.filled.clear()
                due, outbox.due = outbox.due, {}
                if due:
                    yield RateLimitQuotaResponse(bucket_action=[_told(*one) for one in due.items()])
            await reader
        finally:
            reader.cancel()
            self._leave(envoy)
            log.info("quota_stream_closed", envoy=envoy)

    async def _read(self, envoy: str, reports: AsyncIterator[RateLimitQuotaUsageReports], outbox: _Outbox) -> None:
        try:
            async for report in reports:
                for usage in report.bucket_quota_usages:
                    self._take(envoy, usage)
                self._sweep()
        finally:
            outbox.filled.set()

    def _take(self, envoy: str, usage: RateLimitQuotaUsageReportsBucketQuotaUsage) -> None:
        if usage.bucket_id is None:
            return
        bucket = tuple(sorted(usage.bucket_id.bucket.items()))
        part = self._parts.setdefault(bucket, {}).setdefault(envoy, _Part())
        elapsed = usage.time_elapsed.total_seconds() if usage.time_elapsed else 0.0
        # The first report says only that somebody came: it is taken for as much as there is.
        if elapsed > 0:
            part.demand = (usage.num_requests_allowed + usage.num_requests_denied) / elapsed
        part.heard = time.monotonic()
        self._divide(bucket, renewed=envoy)

    def _divide(self, bucket: Bucket, renewed: str = "") -> None:
        parts = self._parts[bucket]
        quota = _quota(bucket, self._default) / 60
        made = shares.divide(quota, {envoy: min(part.demand, quota) for envoy, part in parts.items()})
        for envoy, share in made.items():
            part = parts[envoy]
            changed = abs(share - part.told) > NOTABLE * part.told
            if changed:
                part.told = share
            if changed or envoy == renewed:
                self._outboxes[envoy].put(bucket, part.told)

    def _leave(self, envoy: str) -> None:
        del self._outboxes[envoy]
        for bucket in [bucket for bucket, parts in self._parts.items() if parts.pop(envoy, None)]:
            self._settle(bucket)

    def _sweep(self) -> None:
        now = time.monotonic()
        if now - self._swept < FORGOTTEN_SECONDS / 2:
            return
        self._swept = now
        for bucket, parts in list(self._parts.items()):
            silent = [envoy for envoy, part in parts.items() if now - part.heard > FORGOTTEN_SECONDS]
            for envoy in silent:
                del parts[envoy]
            if silent:
                self._settle(bucket)

    def _settle(self, bucket: Bucket) -> None:
        if self._parts[bucket]:
            self._divide(bucket)
        else:
            del self._parts[bucket]


def _quota(bucket: Bucket, default: int) -> int:
    said = dict(bucket).get("quota", "")
    return max(int(said) if said.isdecimal() else default, LEAST_QUOTA)


def _told(bucket: Bucket, share: float) -> RateLimitQuotaResponseBucketAction:
    limit = TokenBucket(
        max_tokens=max(1, round(share * BURST_SECONDS)),
        tokens_per_fill=max(1, round(share * 60)),
        fill_interval=timedelta(minutes=1),
    )
    return RateLimitQuotaResponseBucketAction(
        bucket_id=BucketId(bucket=dict(bucket)),
        quota_assignment_action=RateLimitQuotaResponseBucketActionQuotaAssignmentAction(
            assignment_time_to_live=LASTING, rate_limit_strategy=RateLimitStrategy(token_bucket=limit)
        ),
    )
