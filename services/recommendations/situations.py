"""A ticket at this moment with all that advice on it rests on: conversation, customer, order, the shop's words."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from servicekit.database import Database
from services.recommendations import case, order_store
from services.recommendations.case import Case, Conversation, Customer, Order, Parcel
from services.recommendations.conversations import Conversations
from services.recommendations.customers import Customers, Known
from services.recommendations.errors import TicketNotFoundError
from services.recommendations.order_store import OrderFilter, StoredOrder


@dataclass(frozen=True, slots=True)
class Situation:
    """A ticket and the case that it makes; `facts_version` is that of the customer's facts in it."""

    ticket_id: UUID
    conversation: Conversation
    facts_version: int
    case: Case


class Situations:
    """Finds out how things are with tickets of all tenants."""

    def __init__(self, database: Database, customers: Customers, conversations: Conversations) -> None:
        self._database = database
        self._customers = customers
        self._conversations = conversations

    async def conversation(self, ticket: str) -> tuple[UUID, Conversation]:
        """Return a ticket's id and its conversation, as the caller may see it.

        Raises:
            TicketNotFoundError: there is no such ticket.
            ConversationUnavailableError: the conversation is not known at the moment.
        """
        conversation = await self._conversations.get(ticket)
        try:
            return UUID(conversation.ticket_id), conversation
        except ValueError as error:
            raise TicketNotFoundError("There is no such ticket.", metadata={"ticket": ticket}) from error

    async def of(self, tenant_id: UUID, ticket_id: UUID, conversation: Conversation) -> Situation:
        """Return everything that advice on a conversation rests on."""
        found = await self._customers.find(tenant_id, [conversation.customer_id]) if conversation.customer_id else []
        known = found[0] if found else None
        named = await self._named_order(tenant_id, conversation) if known else None
        made = case.assemble(conversation, _customer(known), named, _newest_order(known))
        return Situation(ticket_id, conversation, known.facts_version if known else 0, made)

    async def _named_order(self, tenant_id: UUID, conversation: Conversation) -> Order | None:
        """Return the customer's order whose id stands in the conversation; the one named last among several."""
        references = case.order_references(conversation)
        if not references:
            return None
        async with self._database.tenant(tenant_id) as connection:
            chosen = OrderFilter(order_ids=tuple(references))
            found, _, _ = await order_store.list_orders(
                connection, tenant_id, conversation.customer_id, chosen, len(references)
            )
        first = min(found, key=lambda order: references.index(order.order_id), default=None)
        return _order(first) if first is not None else None


def _customer(known: Known | None) -> Customer | None:
    if known is None:
        return None
    return Customer.from_profile(known.profile, known.judged.churn.probability, known.judged.history.currency)


def _newest_order(known: Known | None) -> Order | None:
    stored = known.judged.history.last_purchase if known else None
    if stored is None:
        return None
    return Order(
        stored["order_id"],
        datetime.fromisoformat(stored["order_time"]).date(),
        tuple(dict.fromkeys(product["title"] for product in stored["products"] if product["title"])),
        tuple(
            Parcel(parcel["tracking_number"], parcel["tracking_url"], parcel["carrier"], parcel["status"])
            for parcel in stored["parcels"]
        ),
    )


def _order(stored: StoredOrder) -> Order:
    return Order(
        stored.order_id,
        stored.order_time.astimezone(UTC).date(),
        tuple(dict.fromkeys(title for title, quantity, _ in stored.lines if title and quantity > 0)),
        tuple(
            Parcel(parcel.tracking_number, parcel.tracking_url, parcel.carrier, parcel.status)
            for parcel in stored.parcels
        ),
    )
