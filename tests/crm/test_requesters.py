"""Who asks in a helpdesk's ticket is told to recommendations, which joins them with the shop's customers."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from rapport.recommendations.v1 import customer_service_pb2, identity_pb2, identity_service_pb2

from servicekit.channel import open_channel
from servicekit.errors import UnavailableError
from servicekit.identity import Workload
from services.crm.erasure_store import ErasureStore
from services.crm.events import CustomerErasure, Event, Requester
from services.crm.forgotten import Forgotten
from services.crm.orders import Orders
from services.crm.providers.freshdesk_api import ticket_events as freshdesk
from services.crm.providers.gorgias_api import ticket_events as gorgias
from services.crm.providers.helpscout_events import conversation_events as helpscout
from services.crm.providers.helpshift_api import issue_events as helpshift
from services.crm.providers.intercom_events import item_events as intercom
from services.crm.providers.salesforce_cases import case_events as salesforce
from services.crm.providers.zendesk_api import snapshot_of as zendesk
from services.crm.requesters import Requesters
from tests.crm.conftest import Crm
from tests.crm.test_forgotten import handler

NOW = datetime(2026, 10, 1, 12, 0, tzinfo=UTC)
WHEN = NOW.isoformat()
ANNA = Requester("9001", NOW, NOW, "gorgias", "anna@example.com", provider="gorgias")


def said(**fields: Any) -> Mapping[str, Any]:
    """Return a ticket with a number and a time of its last change."""
    times = {"updated_datetime": WHEN, "updated_at": WHEN, "SystemModstamp": WHEN, "userUpdatedAt": WHEN}
    return {"id": 701, "Id": "500A", "createdAt": WHEN, **times, **fields}


TOLD: dict[str, tuple[Sequence[Event], tuple[str, str, str] | None]] = {
    "gorgias": (gorgias(said(customer={"id": 9, "email": "a@b.example"})), ("9", "a@b.example", "gorgias")),
    "gorgias without an address": (gorgias(said(customer={"id": 9, "email": None})), None),
    "helpscout": (
        helpscout(said(primaryCustomer={"id": 9, "email": "a@b.example"}), NOW, key="k"),
        ("9", "a@b.example", "helpscout"),
    ),
    "helpshift by its address alone": (
        helpshift(said(author_email="a@b.example", updated_at=1_790_000_000_000)),
        ("a@b.example", "a@b.example", ""),
    ),
    "intercom by its own id": (
        intercom("701", {"contacts": {"contacts": [{"id": "9", "email": "a@b.example"}]}}, NOW),
        ("9", "a@b.example", "intercom"),
    ),
    "intercom by the shop's id": (
        intercom("701", {"contacts": {"contacts": [{"id": "9", "external_id": "x", "email": "a@b.example"}]}}, NOW),
        ("x", "a@b.example", ""),
    ),
    "salesforce by a form": (salesforce(said(SuppliedEmail="a@b.example"), (), ()), ("a@b.example", "a@b.example", "")),
    "salesforce whose contact is known": (salesforce(said(SuppliedEmail="a@b.example", ContactId="003"), (), ()), None),
    "zendesk": (
        zendesk(said(requester_id=9), (), {"9": {"email": "a@b.example"}, "4": {"email": "agent@b.example"}}),
        ("9", "a@b.example", "zendesk"),
    ),
    "freshdesk": (
        freshdesk(
            said(requester_id=9, requester={"id": 9, "email": "a@b.example"}),
            [{"id": 1, "user_id": 9, "incoming": True, "from_email": "other@b.example"}],
        ),
        ("9", "a@b.example", "freshdesk"),
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_a_ticket_tells_who_asks_by_the_address_that_the_helpdesk_knows(case: str) -> None:
    """Other people's addresses in the conversation and what was typed beside a known contact are no evidence."""
    events, expected = TOLD[case]
    told = [(each.customer, each.email, each.provider) for each in events if isinstance(each, Requester)]
    assert told == ([] if expected is None else [expected])


@dataclass
class Listening:
    """Keeps what it is told; fails first as often as it is said to."""

    failures: list[Exception] = field(default_factory=list)
    told: list[Requester] = field(default_factory=list)

    async def send(self, _tenant_id: UUID, events: Sequence[Requester]) -> None:
        """Keep it."""
        if self.failures:
            raise self.failures.pop()
        self.told += events


@asynccontextmanager
async def running(listening: Listening, now: list[float]) -> AsyncIterator[Requesters]:
    """Give what tells in the background."""
    requesters = Requesters(listening, lambda: now[0], pause_seconds=0.0)
    task = asyncio.create_task(requesters.run())
    try:
        yield requesters
    finally:
        task.cancel()


async def test_a_requester_is_told_once_a_day_and_when_something_newer_is_different() -> None:
    """Other tenants are others; an address from before does not take the place of a newer one."""
    now, tenant, other = [0.0], uuid4(), uuid4()
    moved = replace(ANNA, email="anna@other.example", changed=NOW + timedelta(hours=1))
    listening = Listening()
    async with running(listening, now) as requesters:
        for each in ([ANNA, ANNA], [ANNA], [moved], [ANNA]):
            requesters.tell(tenant, each)
        requesters.tell(other, [ANNA])
        await requesters.settled()
        assert listening.told == [ANNA, moved, ANNA]
        now[0] = 25 * 3600.0
        requesters.tell(tenant, [moved])
        await requesters.settled()
    assert listening.told == [ANNA, moved, ANNA, moved]


async def test_a_requester_is_told_when_recommendations_is_back_and_again_after_a_failure() -> None:
    """Who is out of reach is asked again; what fails otherwise is told with the next event of the same person."""
    tenant, listening = uuid4(), Listening([UnavailableError("away"), UnavailableError("away")])
    async with running(listening, [0.0]) as requesters:
        requesters.tell(tenant, [ANNA])
        await requesters.settled()
        assert listening.told == [ANNA]
        listening.failures = [KeyError()]
        elsewhere = replace(ANNA, customer="9002")
        requesters.tell(tenant, [elsewhere])
        await requesters.settled()
        requesters.tell(tenant, [elsewhere])
        await requesters.settled()
    assert listening.told == [ANNA, elsewhere]


@dataclass
class Identities:
    """Keeps what it is told, and refuses it as often as it is said to."""

    refusals: list[grpc.StatusCode] = field(default_factory=list)
    taken: list[identity_service_pb2.RecordIdentitiesRequest] = field(default_factory=list)

    async def record(
        self, request: identity_service_pb2.RecordIdentitiesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> identity_pb2.CustomerIdentities:
        """Keep it."""
        if self.refusals:
            await context.abort(self.refusals.pop(), "refused")
        self.taken.append(request)
        return identity_pb2.CustomerIdentities()

    async def erase(
        self, _request: customer_service_pb2.EraseCustomerRequest, _context: object
    ) -> customer_service_pb2.EraseCustomerResponse:
        """Say that it is done."""
        return customer_service_pb2.EraseCustomerResponse()


@asynccontextmanager
async def sending(crm: Crm, identities: Identities) -> AsyncIterator[Orders]:
    """Give what tells recommendations."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    package = "rapport.recommendations.v1"
    methods = {"RecordIdentities": handler(identities.record, identity_service_pb2.RecordIdentitiesRequest)}
    erasing = {"EraseCustomer": handler(identities.erase, customer_service_pb2.EraseCustomerRequest)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(f"{package}.IdentityService", methods),
            grpc.method_handlers_generic_handler(f"{package}.CustomerService", erasing),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    forgotten = Forgotten(ErasureStore(crm.databases[0]), "workload-secret")
    try:
        async with (
            grpc.aio.insecure_channel(crm.tickets.address) as tenant,
            open_channel(f"ipv4:127.0.0.1:{port}") as channel,
        ):
            yield Orders(channel, Workload("crm", "workload-secret", tenant), forgotten)
    finally:
        await server.stop(None)


async def test_an_address_and_the_providers_id_are_stated_as_evidence(crm: Crm) -> None:
    """What cannot be an address or a number is left out; without either nothing is stated."""
    shop, identities = await crm.shop(), Identities()
    async with sending(crm, identities) as orders:
        await orders.send(
            shop.tenant_id,
            [
                ANNA,
                Requester("x", NOW, NOW, "standard", "not an address", phone="+493012345678"),
                Requester("y", NOW, NOW, "standard", "", phone="030 123456"),
                Requester("z", NOW, NOW, "standard", "", phone="+15555555555"),
            ],
        )
    assert [
        (one.customer_id, one.source, one.replace, [(each.kind, each.value) for each in one.identities])
        for one in identities.taken
    ] == [
        ("9001", "gorgias", True, [("email", "anna@example.com"), ("provider:gorgias", "9001")]),
        ("x", "standard", True, [("phone", "+493012345678")]),
    ]


async def test_a_refused_address_holds_nothing_up_and_a_busy_shop_is_asked_again(crm: Crm) -> None:
    """Evidence that is none is passed over; whoever is busy is told to the caller, who tries again."""
    shop, identities = await crm.shop(), Identities([grpc.StatusCode.ABORTED, grpc.StatusCode.INVALID_ARGUMENT])
    async with sending(crm, identities) as orders:
        await orders.send(shop.tenant_id, [ANNA])
        with pytest.raises(grpc.aio.AioRpcError):
            await orders.send(shop.tenant_id, [ANNA])
        await orders.send(shop.tenant_id, [ANNA])
    assert len(identities.taken) == 1


async def test_an_old_ticket_does_not_bring_an_erased_customers_address_back(crm: Crm) -> None:
    """What changes later about a ticket from before the erasure tells nothing; a new ticket does."""
    shop, identities = await crm.shop(), Identities()
    now = datetime.now(UTC)
    old = replace(ANNA, began=now - timedelta(days=1), changed=now + timedelta(minutes=1))
    async with sending(crm, identities) as orders:
        await orders.send(shop.tenant_id, [CustomerErasure("9001")])
        await orders.send(shop.tenant_id, [old])
        assert identities.taken == []
        await orders.send(shop.tenant_id, [replace(old, began=now + timedelta(minutes=1))])
    assert len(identities.taken) == 1
