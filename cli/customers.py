"""An operator's calls about a shop's customers."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from rapport.crm.v1 import delivery_pb2, delivery_service_pb2, delivery_service_pb2_grpc
from rapport.recommendations.v1 import customer_service_pb2, customer_service_pb2_grpc
from rapport.tickets.v1 import ticket_service_pb2, ticket_service_pb2_grpc

from cli.operator import Operator, operator_of
from cli.suite.folder import SuiteFolder

_MOST_TEXTS, _AT_ONCE = 20, 1000

Tickets = Sequence[ticket_service_pb2.ErasedTicket]


@dataclass(frozen=True, slots=True)
class Erased:
    """What was removed with a customer; `deliveries` are those that lost their content.

    `waiting` are deliveries that mention the customer and stayed because they are pending.
    """

    customer: str
    known: bool
    orders: int
    deliveries: int
    tickets: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A delivery that would lose its content: what it mentions and where; neither where a ticket takes it along."""

    delivery: str
    state: str
    mentioned: str
    place: str


@dataclass(frozen=True, slots=True)
class Told:
    """What an erasure would remove."""

    customer: str
    known: bool
    tickets: Sequence[str]
    deliveries: Sequence[Hit]


async def erase_customer(folder: SuiteFolder, tenant: str, customer: str, also: Sequence[str]) -> Erased:
    """Forget a customer in every service: what the inbox holds of them, contact, orders, profile, tickets, advice.

    What the inbox holds is searched for the id, the addresses that are known, and each of `also`. It comes first: it
    could otherwise be replayed into a profile that is gone, and from then on the inbox lets nothing older in. Tickets
    go last: they tell what else belongs to the customer, also to a second run after an interruption. What was on its
    way meanwhile is taken by going through the inbox, and what came out of it, once more.
    """
    async with operator_of(folder) as operator:
        tickets, known, ids, texts = await _known(operator, tenant, customer, also)
        deliveries = orders = erased = waiting = 0
        for _ in range(2):
            more, waiting = await _erase_deliveries(operator, tenant, texts, tickets)
            deliveries += more
            # Who else the customer is, only the history tells: the tickets of those ids go while it is there.
            for one in ids:
                if one != customer:
                    erased += await _erase_tickets(operator, tenant, one)
            orders += await _erase_history(operator, tenant, customer, tickets)
            erased += await _erase_tickets(operator, tenant, customer)
    return Erased(customer, known, orders, deliveries, erased, waiting)


async def tell_customer(folder: SuiteFolder, tenant: str, customer: str, also: Sequence[str]) -> Told:
    """Tell what `erase_customer` would remove of tickets and deliveries, and change nothing."""
    async with operator_of(folder) as operator:
        tickets, known, _, texts = await _known(operator, tenant, customer, also)
        found: dict[str, Hit] = {}
        for request in _requests(texts, tickets, validate_only=True):
            async for part in _parts(operator, tenant, request):
                for hit in part.hits:
                    state = delivery_pb2.Delivery.State.Name(hit.state).removeprefix("STATE_").lower()
                    found.setdefault(hit.delivery, Hit(hit.delivery, state, hit.mentioned, hit.place))
    return Told(customer, known, [ticket.id for ticket in tickets], list(found.values()))


async def _known(
    operator: Operator, tenant: str, customer: str, also: Sequence[str]
) -> tuple[list[ticket_service_pb2.ErasedTicket], bool, list[str], list[str]]:
    """Return a customer's tickets, whether they are known, their ids, and by which texts helpdesks speak of them."""
    known, email, merged = await _contact(operator, tenant, customer)
    ids = list(dict.fromkeys((customer, *merged)))
    tickets: list[ticket_service_pb2.ErasedTicket] = []
    emails: set[str] = set()
    for one in ids:
        some, more = await tickets_of(operator, tenant, one)
        tickets += some
        emails |= more
    return tickets, known, ids, [text for text in dict.fromkeys((*ids, *also, email, *sorted(emails))) if text]


async def tickets_of(
    operator: Operator, tenant: str, customer: str
) -> tuple[list[ticket_service_pb2.ErasedTicket], set[str]]:
    """Return all tickets of a customer, and the addresses by which the customer wrote in them."""
    service = operator.stub(ticket_service_pb2_grpc.TicketServiceStub, "tickets")
    found: list[ticket_service_pb2.ErasedTicket] = []
    emails: set[str] = set()
    while True:
        after = found[-1].id if found else ""
        request = ticket_service_pb2.EraseCustomerTicketsRequest(customer_id=customer, validate_only=True, after=after)
        page = await service.EraseCustomerTickets(request, metadata=await operator.metadata(tenant), timeout=60)
        found += page.tickets
        emails |= set(page.emails)
        if not page.tickets:
            return found, emails


async def _contact(operator: Operator, tenant: str, customer: str) -> tuple[bool, str, Sequence[str]]:
    """Return whether a customer is known, their address, which may be empty, and the ids that were merged into one."""
    service = operator.stub(customer_service_pb2_grpc.CustomerServiceStub, "recommendations")
    request = customer_service_pb2.EraseCustomerRequest(customer_id=customer, validate_only=True)
    found = await service.EraseCustomer(request, metadata=await operator.metadata(tenant), timeout=30)
    return found.known, found.email, found.customer_ids


async def _erase_deliveries(operator: Operator, tenant: str, texts: Sequence[str], tickets: Tickets) -> tuple[int, int]:
    """Erase what providers sent about a customer; return of how many deliveries, and how many wait."""
    erased = waiting = 0
    for request in _requests(texts, tickets):
        async for part in _parts(operator, tenant, request):
            erased += part.erased
            waiting += part.waiting
    return erased, waiting


def _requests(
    texts: Sequence[str], tickets: Tickets, *, validate_only: bool = False
) -> list[delivery_service_pb2.EraseCustomerDeliveriesRequest]:
    """Return what to ask for, tickets first: what they take along is not told of as mentioned."""
    external = [
        delivery_service_pb2.ExternalTicket(connection=ticket.connection, external_id=ticket.external_id)
        for ticket in tickets
        if ticket.connection and ticket.external_id
    ]
    ask = delivery_service_pb2.EraseCustomerDeliveriesRequest
    return [
        *(
            ask(tickets=external[at : at + _AT_ONCE], validate_only=validate_only)
            for at in range(0, len(external), _AT_ONCE)
        ),
        *(
            ask(mentioned=texts[at : at + _MOST_TEXTS], validate_only=validate_only)
            for at in range(0, len(texts), _MOST_TEXTS)
        ),
    ]


async def _parts(
    operator: Operator,
    tenant: str,
    request: delivery_service_pb2.EraseCustomerDeliveriesRequest,
) -> AsyncIterator[delivery_service_pb2.EraseCustomerDeliveriesResponse]:
    """Ask until nothing is left to look at."""
    service = operator.stub(delivery_service_pb2_grpc.DeliveryServiceStub, "crm")
    while True:
        part = await service.EraseCustomerDeliveries(request, metadata=await operator.metadata(tenant), timeout=60)
        yield part
        request.page_token = part.next_page_token
        if not part.next_page_token:
            return


async def _erase_history(operator: Operator, tenant: str, customer: str, tickets: Tickets) -> int:
    """Erase contact, orders, profile, and the advice on these tickets; return how many orders there were."""
    service = operator.stub(customer_service_pb2_grpc.CustomerServiceStub, "recommendations")
    orders = 0
    for start in range(0, max(len(tickets), 1), _AT_ONCE):
        some = [ticket.id for ticket in tickets[start : start + _AT_ONCE]]
        request = customer_service_pb2.EraseCustomerRequest(customer_id=customer, tickets=some)
        done = await service.EraseCustomer(request, metadata=await operator.metadata(tenant), timeout=60)
        orders += done.order_count
    return orders


async def _erase_tickets(operator: Operator, tenant: str, customer: str) -> int:
    """Erase a customer's tickets; return how many."""
    service = operator.stub(ticket_service_pb2_grpc.TicketServiceStub, "tickets")
    request = ticket_service_pb2.EraseCustomerTicketsRequest(customer_id=customer)
    erased = 0
    while True:
        done = await service.EraseCustomerTickets(request, metadata=await operator.metadata(tenant), timeout=60)
        erased += len(done.tickets)
        if not done.tickets:
            return erased
