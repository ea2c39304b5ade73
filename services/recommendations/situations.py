"""A ticket at this moment with all that advice on it rests on: conversation, customer, order, the shop's words."""

from dataclasses import dataclass
from datetime import UTC
from uuid import UUID

from servicekit.database import Database
from services.recommendations import action_store, case, order_listing, store
from services.recommendations.action_policy import ActionPolicy
from services.recommendations.case import Case, Contact, Conversation, Customer, Order, Parcel
from services.recommendations.conversations import Conversations
from services.recommendations.customers import Customers, Known
from services.recommendations.errors import TicketNotFoundError
from services.recommendations.gifts import Standing
from services.recommendations.knowledge import Knowledge
from services.recommendations.order_listing import OrderFilter, StoredOrder


@dataclass(frozen=True, slots=True)
class Situation:
    """A ticket and the case that it makes; `facts_version` is that of the customer's facts in it.

    `policy` is what the shop allows of actions. `given` is the day and what the customer was given, but for what the
    recommendation on this conversation gave, which goes on recommending it; `given_in_all` is that as well, and counts
    against any other recommendation. `contact` is what the shop knows of the customer, to be kept from others.
    """

    ticket_id: UUID
    conversation: Conversation
    facts_version: int
    case: Case
    policy: ActionPolicy
    given: Standing
    given_in_all: Standing
    contact: Contact


class Situations:
    """Finds out how things are with tickets of all tenants."""

    def __init__(self, database: Database, customers: Customers, conversations: Conversations) -> None:
        self._database = database
        self._customers = customers
        self._conversations = conversations
        self._knowledge = Knowledge(database)

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

    async def of(
        self, tenant_id: UUID, ticket_id: UUID, conversation: Conversation, *, language: str = "", offers: bool = False
    ) -> Situation:
        """Return everything that advice on a conversation rests on.

        Articles are looked for in `language`, or else in the customer's; with `offers` what policies say of offers too.
        """
        found = await self._customers.find(tenant_id, [conversation.customer_id]) if conversation.customer_id else {}
        known = found.get(conversation.customer_id)
        named, newest = await self._orders(tenant_id, conversation, known) if known else (None, None)
        text, own = case.question(conversation)
        passages = await self._knowledge.passages(tenant_id, text, language or own)
        if offers:
            passages += await self._knowledge.offers(tenant_id, language or own)
        customer_id = known.judged.history.customer_id if known else conversation.customer_id
        async with self._database.tenant(tenant_id) as connection:
            policy = await action_store.policy(connection, tenant_id)
            answered = (ticket_id, conversation.version)
            grants, others = await action_store.grants(connection, tenant_id, customer_id, answered)
            contact = Contact(*await store.contact_of(connection, tenant_id, customer_id)) if known else Contact()
        made = case.assemble(
            conversation, _customer(known), named, newest, customer_name=contact.name, passages=passages
        )
        given, in_all = (Standing(self._customers.today, each) for each in (others, grants))
        return Situation(
            ticket_id, conversation, known.facts_version if known else 0, made, policy, given, in_all, contact
        )

    async def _orders(
        self, tenant_id: UUID, conversation: Conversation, known: Known
    ) -> tuple[Order | None, Order | None]:
        """Return the customer's order whose id stands in the conversation, and the newest one.

        Among several that are named it is the one named last.
        """
        references, customer_id = case.order_references(conversation), known.judged.history.customer_id
        found: list[StoredOrder] = []
        async with self._database.tenant(tenant_id) as connection:
            if references:
                chosen = OrderFilter(order_ids=tuple(references))
                found = await order_listing.find_orders(connection, tenant_id, customer_id, chosen, len(references))
            newest = await order_listing.find_orders(connection, tenant_id, customer_id, OrderFilter(), 1)
        named = min(found, key=lambda order: references.index(order.order_id), default=None)
        return (_order(named) if named else None), (_order(newest[0]) if newest else None)


def _customer(known: Known | None) -> Customer | None:
    if known is None:
        return None
    return Customer.from_profile(known.profile, known.judged.churn.probability, known.judged.history.currency)


def _order(stored: StoredOrder) -> Order:
    return Order(
        stored.order_id,
        stored.order_time.astimezone(UTC).date(),
        tuple(dict.fromkeys(line.title for line in stored.lines if line.title and line.quantity > 0)),
        tuple(
            Parcel(parcel.tracking_number, parcel.tracking_url, parcel.carrier, parcel.status)
            for parcel in stored.parcels
        ),
        currency=stored.currency,
        total_minor=stored.ordered_minor,
        cancelled_minor=stored.cancelled_minor,
        refunded_minor=stored.refunded_minor,
    )
