"""An operator's calls about a shop's deliveries: lists, the live tail, the balance, replay and discard."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from rapport.crm.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc
from rapport.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc

from cli.errors import CommandError
from cli.operator import Operator, as_dict, command_error, operator_of
from cli.suite.folder import SuiteFolder

STATES = tuple(
    name.removeprefix("STATE_").lower()
    for name in delivery_pb2.Delivery.State.keys()  # noqa: SIM118 - an enum's wrapper is no dict
    if name != "STATE_UNSPECIFIED"
)
"""The states by which deliveries are found."""

LOOK_SECONDS = 1.0
"""How often the live tail looks."""

_PAGE = 200
_SUMMED = ("processed", "superseded", "duplicate", "quarantined", "pending", "dead", "discarded")

Delivery = dict[str, Any]


@dataclass(frozen=True)
class Filters:
    """Which deliveries are meant; what is empty means all. Times are ISO 8601, UTC where they name no zone."""

    state: str = ""
    connection: str = ""
    provider: str = ""
    reason: str = ""
    since: str = ""
    until: str = ""

    def request(self, **page: Any) -> delivery_service_pb2.ListDeliveriesRequest:
        """Return the request for a page.

        Raises:
            CommandError: a state that there is not, or no time.
        """
        if self.state and self.state not in STATES:
            raise CommandError(f"There is no state '{self.state}': {', '.join(STATES)}.", reason="USAGE")
        return delivery_service_pb2.ListDeliveriesRequest(
            state=delivery_pb2.Delivery.State.Value(f"STATE_{(self.state or 'unspecified').upper()}"),
            connection=self.connection,
            provider=self.provider,
            reason=self.reason,
            received_from=_time("--since", self.since),
            received_before=_time("--until", self.until),
            **page,
        )


def _time(option: str, text: str) -> Timestamp | None:
    """Read a time; None when there is none."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"{option}: '{text}' is no ISO 8601 time.", reason="USAGE") from error
    stamp = Timestamp()
    stamp.FromDatetime(time if time.tzinfo else time.replace(tzinfo=UTC))
    return stamp


async def list_deliveries(folder: SuiteFolder, tenant: str, filters: Filters, limit: int) -> list[Delivery]:
    """Return a shop's newest deliveries, `limit` at most."""
    async with operator_of(folder) as operator:
        return [each async for each in _listed(operator, tenant, filters, limit)]


async def show_delivery(folder: SuiteFolder, tenant: str, delivery: str) -> Delivery:
    """Return a delivery with its replays."""
    async with operator_of(folder) as operator:
        request = delivery_service_pb2.GetDeliveryRequest(delivery=delivery)
        return as_dict(await _stub(operator).GetDelivery(request, metadata=await operator.metadata(tenant), timeout=30))


async def tail_deliveries(folder: SuiteFolder, tenant: str, filters: Filters, last: int) -> AsyncIterator[Delivery]:
    """Yield a shop's `last` deliveries, the oldest first, then each one that comes or changes, for ever."""
    seen: dict[str, tuple[str, int, int]] = {}
    async with operator_of(folder) as operator:
        recent = [each async for each in _listed(operator, tenant, filters, max(last, 1))]
        seen = {each["id"]: _mark(each) for each in recent}
        for each in reversed(recent[:last]):
            yield each
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            # Back to the newest that is known to be done: what is older changes by a person's decision only.
            newest_done = max((key for key, mark in seen.items() if mark[0] != "STATE_PENDING"), default="")
            oldest_open = min((key for key, mark in seen.items() if mark[0] == "STATE_PENDING"), default=newest_done)
            until = min(newest_done, oldest_open)
            found = []
            async for each in _listed(operator, tenant, filters, 10_000):
                if each["id"] < until:
                    break
                found.append(each)
            changed = [each for each in found if seen.get(each["id"]) != _mark(each)]
            for each in reversed(changed):
                yield each
            seen = {each["id"]: _mark(each) for each in found} or seen


def _mark(delivery: Delivery) -> tuple[str, int, int]:
    """Return what of a delivery is worth a new line when it changes."""
    return delivery["state"], delivery["attempts"], delivery["replay_count"]


async def balances(folder: SuiteFolder, tenant: str = "") -> list[dict[str, Any]]:
    """Return the balance of a shop, or of each, with whether it adds up."""
    async with operator_of(folder) as operator:
        slugs = [tenant] if tenant else await _slugs(operator)
        found = []
        for slug in slugs:
            request = delivery_service_pb2.GetBalanceRequest()
            answer = await _stub(operator).GetBalance(request, metadata=await operator.metadata(slug), timeout=60)
            counts = {name: int(count) for name, count in as_dict(answer).items()}
            adds_up = counts["admitted"] == sum(counts[name] for name in _SUMMED)
            found.append({"tenant": slug, "balance": counts, "adds_up": adds_up})
    return found


async def replay_deliveries(
    folder: SuiteFolder, tenant: str, ids: Sequence[str], filters: Filters | None, request_id: str
) -> list[Delivery]:
    """Have deliveries processed anew: those named, or all that are found; return each as it stands then.

    What cannot be replayed any more, because somebody was quicker, stands in the answer with its `refused` reason.
    """
    return await _decide(folder, tenant, ids, filters, request_id or str(uuid4()))


async def discard_deliveries(
    folder: SuiteFolder, tenant: str, ids: Sequence[str], filters: Filters | None
) -> list[Delivery]:
    """Give deliveries up: those named, or all that are found; return each as it stands then."""
    return await _decide(folder, tenant, ids, filters, "")


async def _decide(
    folder: SuiteFolder, tenant: str, ids: Sequence[str], filters: Filters | None, request_id: str
) -> list[Delivery]:
    """Replay with a request id, discard without one."""
    async with operator_of(folder) as operator:
        if filters is not None:
            ids = [each["id"] async for each in _listed(operator, tenant, filters, 1_000_000)][::-1]
        stub = _stub(operator)
        found = []
        for one in ids:
            metadata = await operator.metadata(tenant)
            try:
                if request_id:
                    replay = delivery_service_pb2.ReplayDeliveryRequest(delivery=one, request_id=request_id)
                    answer = await stub.ReplayDelivery(replay, metadata=metadata, timeout=30)
                else:
                    discard = delivery_service_pb2.DiscardDeliveryRequest(delivery=one)
                    answer = await stub.DiscardDelivery(discard, metadata=metadata, timeout=30)
            except grpc.aio.AioRpcError as error:
                if filters is None or error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise
                found.append({"id": one, "refused": command_error(error).reason})
            else:
                found.append(as_dict(answer))
    return found


async def _listed(operator: Operator, tenant: str, filters: Filters, limit: int) -> AsyncIterator[Delivery]:
    """Yield deliveries, newest first."""
    token, given = "", 0
    while given < limit:
        request = filters.request(page_size=min(_PAGE, limit - given), page_token=token)
        page = await _stub(operator).ListDeliveries(request, metadata=await operator.metadata(tenant), timeout=30)
        for delivery in page.deliveries:
            given += 1
            yield as_dict(delivery)
        token = page.next_page_token
        if not token:
            return


async def _slugs(operator: Operator) -> list[str]:
    """Return the slugs of all shops that are not deleted."""
    tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
    found: list[str] = []
    token = ""
    while True:
        request = tenant_service_pb2.ListTenantsRequest(page_size=200, page_token=token)
        page = await tenants.ListTenants(request, metadata=await operator.metadata(), timeout=30)
        found += [each.slug for each in page.tenants if as_dict(each)["state"] == "STATE_ACTIVE"]
        token = page.next_page_token
        if not token:
            return found


def _stub(operator: Operator) -> Any:
    return operator.stub(delivery_service_pb2_grpc.DeliveryServiceStub, "crm")
