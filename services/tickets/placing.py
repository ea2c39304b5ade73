"""Finds the ticket that a request names, and puts a changed one where it belongs: rank, reasons and card in one go."""

from services.tickets import cards, scoring
from services.tickets.alerts import searchable
from services.tickets.errors import TicketNotFoundError
from services.tickets.facts import Facts, Tier
from services.tickets.language import analyse
from services.tickets.numbers import parse_reference
from services.tickets.policies import DEFAULT
from services.tickets.rows import Stored
from services.tickets.store import Placement, Shop
from services.tickets.tickets import Ticket


async def find(shop: Shop, reference: str, *, lock: bool = False) -> Stored:
    """Return the ticket that a request names by id or number.

    Raises:
        TicketNotFoundError: there is none, or the text can be neither an id nor a number.
    """
    parsed = parse_reference(reference)
    stored = None if parsed is None else await shop.find(parsed, lock=lock)
    if stored is None:
        raise TicketNotFoundError(reference)
    return stored


async def place(shop: Shop, ticket: Ticket, *, added: str = "", search_anew: bool = False) -> Stored:
    """Store a ticket that is locked, with everything that is derived of it.

    `added` is what its new messages add to what topic alerts search; `search_anew` reads all of it again, for when the
    subject changed or messages were hidden.
    """
    conversation = await shop.conversation(ticket.id)
    customer = await shop.customer(ticket.customer_id)
    signals = analyse(ticket.subject, conversation.customer_texts)
    facts = Facts(ticket.start_time, ticket.priority, customer, signals, tier=Tier(ticket.tier))
    rank = scoring.rank(DEFAULT, facts)
    card = cards.card(ticket, rank, conversation.count, conversation.last)
    everything = None
    if search_anew:
        everything = searchable([ticket.subject, *await shop.customer_texts(ticket.id)])
    await shop.update(ticket, Placement(signals, rank, card, conversation, everything), added)
    last_time = conversation.last.create_time if conversation.last else None
    return Stored(ticket, rank, signals, conversation.count, last_time)
