"""Finds the ticket that a request names, and puts a changed one where it belongs: rank, reasons and card in one go."""

from collections.abc import Sequence
from datetime import datetime

from servicekit.tracing import traced
from services.tickets import cards, scoring
from services.tickets.alerts import searchable
from services.tickets.clocking import clocked, told_of
from services.tickets.conversations import conversation_of
from services.tickets.errors import TicketNotFoundError
from services.tickets.facts import Customer, Facts, Tier
from services.tickets.keyword_rules import applied
from services.tickets.language import Signals, analyse
from services.tickets.numbers import parse_reference
from services.tickets.places import SETTLED, Place
from services.tickets.policies import settled
from services.tickets.ranking_store import Waiting
from services.tickets.rows import Stored
from services.tickets.scoring import Rank
from services.tickets.store import Placement, Shop
from services.tickets.tickets import Message, Ticket


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


async def find_going_on(shop: Shop, reference: str) -> list[Stored]:
    """Return the ticket that a request names, and when it was merged all that go on in its stead, the last one last.

    They are locked.

    Raises:
        TicketNotFoundError: there is none, or the text can be neither an id nor a number.
    """
    parsed = parse_reference(reference)
    stored = None if parsed is None else await shop.find_unmerged(parsed)
    return [stored] if stored else await locked_chain(shop, (await find(shop, reference)).ticket)


async def locked_chain(shop: Shop, ticket: Ticket) -> list[Stored]:
    """Return a ticket, the one that goes on in its stead, the one that goes on in that one's, and so on, all locked.

    Raises:
        TicketNotFoundError: it is gone.
    """
    wanted = {ticket.id}
    # Read before they are locked: who locks several does so in the order of their ids.
    onward = ticket
    while onward.merged_into is not None and (stored := await shop.find(onward.merged_into)) is not None:
        onward = stored.ticket
        wanted.add(onward.id)
    while True:
        known = {stored.ticket.id: stored for stored in await shop.find_all(wanted)}
        if ticket.id not in known:
            raise TicketNotFoundError(ticket.number_text)
        chain = [known[ticket.id]]
        while (into := chain[-1].ticket.merged_into) is not None and into in known:
            chain.append(known[into])
        # What was asked for and is not known is gone: the chain ends before it.
        if into is None or into in wanted:
            return chain
        wanted.add(into)


async def facts_of(
    shop: Shop, ticket: Ticket, signals: Signals, customer: Customer, *, added: str = "", everything: str | None = None
) -> Facts:
    """Return all that the order needs of a ticket; for its text see `place` and `TopicStore.lifting`."""
    hours, origin = (await shop.sla.settings()).answer(ticket.priority, ticket.tags)
    topics = await shop.topics.lifting(ticket.id, added, everything)
    return Facts(
        ticket.start_time,
        ticket.priority,
        customer,
        signals,
        hours,
        origin,
        topic_weight=topics[0].weight if topics else 0.0,
        topics=tuple(one.text for one in topics),
        tier=Tier(ticket.tier),
    )


async def facts_of_many(shop: Shop, tickets: Sequence[Waiting]) -> list[Facts]:
    """Return the same as `facts_of` for many tickets, in few statements."""
    sla = await shop.sla.settings()
    topics = await shop.topics.lifting_many([one.ticket_id for one in tickets])
    made = []
    for one in tickets:
        lifting = topics.get(one.ticket_id, ())
        made.append(
            Facts(
                one.start_time,
                one.priority,
                one.customer,
                one.signals,
                *sla.answer(one.priority, one.tags),
                topic_weight=max(alert.weight for alert in lifting) if lifting else 0.0,
                topics=tuple(alert.text for alert in lifting),
                tier=one.tier,
            )
        )
    return made


@traced("tickets place")
async def place(
    shop: Shop,
    ticket: Ticket,
    *,
    added: str = "",
    search_anew: bool = False,
    written: Sequence[Message] | None = None,
    now: datetime | None = None,
) -> Stored:
    """Store a ticket that is locked, with everything that is derived of it.

    `added` is what its new messages add to what topic alerts search; `search_anew` reads all of it again, for when the
    subject changed or messages were hidden. `written` is all messages of a ticket that was opened in this transaction:
    they are not read back. The ticket's clocks are judged as of `now`, or of its last change.
    """
    everything = None
    if written is not None:
        conversation = conversation_of(written)
        everything = searchable([ticket.subject, *(one.content for one in written if not one.from_agent)])
    else:
        conversation = await shop.conversation(ticket.family)
    if search_anew:
        everything = searchable([ticket.subject, *await shop.customer_texts(ticket.family)])
        await shop.find_said_anew(ticket)
    customer = await shop.customer(ticket.customer_id)
    texts, rules = conversation.customer_texts, (await shop.keywords.get()).rules
    signals = applied(rules, analyse(ticket.subject, texts), ticket.subject, texts, ticket.tags)
    facts = await facts_of(shop, ticket, signals, customer, added=added, everything=everything)
    alarm, now = ticket.clocks.alarm, now or ticket.update_time
    ticket, news = await clocked(shop, ticket, conversation.said, now)
    rankings = await shop.places.rankings()
    policies = {ranking: await shop.policies.policy(ranking.policy_version) for ranking in rankings.live}
    policy = policies[rankings.active]
    card = cards.card(ticket, conversation.count, conversation.last)
    if ticket.status == "closed":
        policy = settled(policy)
        rank = scoring.rank(policy, facts)
        places = [_place(SETTLED, rank)]
    else:
        ranks = {ranking: scoring.rank(by, facts) for ranking, by in policies.items()}
        rank = ranks[rankings.active]
        places = [_place(ranking.number, made) for ranking, made in ranks.items()]
    await shop.update(ticket, Placement(signals, rank, places, rankings, card, conversation, everything), added)
    if ticket.clocks.alarm != alarm:
        await shop.sla.set_timer(ticket.id, ticket.clocks.alarm, now)
    await shop.sla.tell(told_of(ticket.id, ticket.clocks, news), now)
    last_time = conversation.last.create_time if conversation.last else None
    return Stored(ticket, rank, signals, conversation.count, last_time, policy)


def _place(ranking: int, rank: Rank) -> Place:
    return Place(ranking, rank.tier, rank.key, rank.reasons())
