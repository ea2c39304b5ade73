"""An operator's calls about a shop's customers."""

from collections.abc import Sequence
from dataclasses import dataclass

from rapport.crm.v1 import delivery_service_pb2, delivery_service_pb2_grpc
from rapport.recommendations.v1 import customer_service_pb2, customer_service_pb2_grpc
from rapport.tickets.v1 import ticket_service_pb2, ticket_service_pb2_grpc

from cli.operator import Operator, operator_of
from cli.suite.folder import SuiteFolder

SHORTEST_MENTION = 3
"""The fewest characters of a text by which deliveries are searched: a shorter one would be found in all of them."""

_MOST_TEXTS, _AT_ONCE = 20, 1000

Tickets = Sequence[ticket_service_pb2.ErasedTicket]


@dataclass(frozen=True, slots=True)
class Erased:
    """What was removed with a customer; `deliveries` are those that lost their content."""

    customer: str
    known: bool
    orders: int
    deliveries: int
    tickets: int


async def erase_customer(folder: SuiteFolder, tenant: str, customer: str, also: Sequence[str]) -> Erased:
    """Forget a customer in every service: what the inbox holds of them, contact, orders, profile, tickets, advice.

    What the inbox holds is searched for the id, the addresses that are known, and each of `also`. It comes first: it
    could otherwise be replayed into a profile that is gone. Tickets go last: they tell what else belongs to the
    customer, also to a second run after an interruption.
    """
    async with operator_of(folder) as operator:
        tickets, emails = await _tickets(operator, tenant, customer)
        known, email = await _contact(operator, tenant, customer)
        texts = [
            text for text in dict.fromkeys((customer, *also, email, *sorted(emails))) if len(text) >= SHORTEST_MENTION
        ]
        deliveries = await _erase_deliveries(operator, tenant, texts, tickets)
        orders = await _erase_history(operator, tenant, customer, tickets)
        erased = await _erase_tickets(operator, tenant, customer)
    return Erased(customer, known, orders, deliveries, erased)


async def _tickets(
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


async def _contact(operator: Operator, tenant: str, customer: str) -> tuple[bool, str]:
    """Return whether a customer is known, and their address, which may be empty."""
    service = operator.stub(customer_service_pb2_grpc.CustomerServiceStub, "recommendations")
    request = customer_service_pb2.EraseCustomerRequest(customer_id=customer, validate_only=True)
    found = await service.EraseCustomer(request, metadata=await operator.metadata(tenant), timeout=30)
    return found.known, found.email


async def _erase_deliveries(operator: Operator, tenant: str, texts: Sequence[str], tickets: Tickets) -> int:
    """Erase what providers sent about a customer; return of how many deliveries."""
    service = operator.stub(delivery_service_pb2_grpc.DeliveryServiceStub, "crm")
    external = [
        delivery_service_pb2.ExternalTicket(connection=ticket.connection, external_id=ticket.external_id)
        for ticket in tickets
        if ticket.connection and ticket.external_id
    ]
    ask = delivery_service_pb2.EraseCustomerDeliveriesRequest
    requests = [ask(mentioned=texts[at : at + _MOST_TEXTS]) for at in range(0, len(texts), _MOST_TEXTS)]
    requests += [ask(tickets=external[at : at + _AT_ONCE]) for at in range(0, len(external), _AT_ONCE)]
    erased = 0
    for request in requests:
        while True:
            part = await service.EraseCustomerDeliveries(request, metadata=await operator.metadata(tenant), timeout=60)
            erased += part.erased
            request.page_token = part.next_page_token
            if not part.next_page_token:
                break
    return erased


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
