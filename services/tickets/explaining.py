"""Explains places: what makes a ticket's score, what would move it, why it is above another, what a policy would do."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.tickets import comparing, policies, scoring
from services.tickets.cards import Filters
from services.tickets.comparing import Comparison, Counterfactual, Standing
from services.tickets.desk import Caller, Clock, utc_now
from services.tickets.errors import ComparisonWithItselfError, StatusesDifferError
from services.tickets.facts import Facts
from services.tickets.placing import facts_of, facts_of_many, find
from services.tickets.policies import Edit, Policy
from services.tickets.rows import Stored
from services.tickets.scoring import Rank, Score
from services.tickets.store import Shop, Store
from services.tickets.tickets import Ticket

RANKED = 1_000
"""How many open tickets a preview puts in order anew."""


@dataclass(frozen=True, slots=True)
class Explained:
    """A ticket with all that its order depends on, its score by the policy, and what would move it."""

    stored: Stored
    facts: Facts
    policy: Policy
    score: Score
    counterfactuals: Sequence[Counterfactual]


@dataclass(frozen=True, slots=True)
class PreviewedPlace:
    """Where a ticket stands, where it would stand, and what would lift it most."""

    ticket_id: UUID
    number: str
    place: int
    new_place: int
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class Preview:
    """The head of the inbox in its new order, how many tickets were put in order, and how many of those would move."""

    places: Sequence[PreviewedPlace]
    ranked: int
    moved: int


class Explaining:
    """Answers why the inbox is in its order."""

    def __init__(self, store: Store, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def explain(self, caller: Caller, reference: str) -> Explained:
        """Explain a ticket's place.

        Raises:
            TicketNotFoundError: there is no such ticket.
        """
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            stored = await find(shop, reference)
            facts = await _facts(shop, stored)
            policy, rank = await _ranked(shop, stored, facts)
            score = scoring.explain(policy, rank, stored.ticket.start_time, now)
            if stored.ticket.status == "closed":
                return Explained(stored, facts, policy, score, ())
            told = await self._counterfactuals(shop, stored, facts, policy)
        return Explained(stored, facts, policy, score, told)

    async def _counterfactuals(
        self, shop: Shop, stored: Stored, facts: Facts, policy: Policy
    ) -> Sequence[Counterfactual]:
        own = (int(facts.tier), scoring.key(policy, facts))
        sla, given = await shop.sla.settings(), []
        for alternative in comparing.alternatives(facts, lambda priority: sla.answer(priority, stored.ticket.tags)):
            other = (int(alternative.facts.tier), scoring.key(policy, alternative.facts))
            if other != own:
                passed = await shop.policies.between(stored.ticket, own, other, comparing.MOST_PLACES)
                given.append((alternative, passed if other > own else -passed))
        return comparing.counterfactuals(given)

    async def compare(self, caller: Caller, reference: str, other: str) -> tuple[Comparison, Policy]:
        """Say why one of two tickets stands above the other.

        Raises:
            TicketNotFoundError: there is no such ticket.
            ComparisonWithItselfError: both are the same ticket.
            StatusesDifferError: they stand in different lists.
        """
        now = self._clock()
        async with self._store.shop(caller.tenant_id) as shop:
            found = [await find(shop, each) for each in (reference, other)]
            _check_comparable(*(stored.ticket for stored in found))
            standings = []
            for stored in found:
                facts = await _facts(shop, stored)
                policy, rank = await _ranked(shop, stored, facts)
                score = scoring.explain(policy, rank, stored.ticket.start_time, now)
                standings.append(Standing(stored.ticket.id, stored.ticket.number_text, facts, score, rank.key))
        return comparing.compare(*standings), policy

    async def preview(self, caller: Caller, edit: Edit, size: int) -> Preview:
        """Put the head of the inbox in the order of an edited policy.

        Raises:
            PolicyInvalidError: the edit is not allowed.
        """
        async with self._store.shop(caller.tenant_id) as shop:
            active = await _policy(shop)
            wanted = policies.edited(active, edit)
            tickets = (await shop.lists.smart(Filters(status="open"), None, RANKED)).tickets
            waiting = await shop.rankings.waiting([stored.ticket.id for stored in tickets])
            known = {one.ticket_id: each for one, each in zip(waiting, await facts_of_many(shop, waiting), strict=True)}
        facts = [(stored.ticket, known[stored.ticket.id]) for stored in tickets if stored.ticket.id in known]
        now = _in_order(active, facts)
        places = {ticket.id: place for place, (ticket, _, _) in enumerate(now, 1)}
        previewed = [
            PreviewedPlace(ticket.id, ticket.number_text, places[ticket.id], place, reasons)
            for place, (ticket, _, reasons) in enumerate(_in_order(wanted, facts), 1)
        ]
        return Preview(previewed[:size], len(now), sum(one.place != one.new_place for one in previewed))


def _in_order(policy: Policy, tickets: Sequence[tuple[Ticket, Facts]]) -> Sequence[tuple[Ticket, float, Sequence[str]]]:
    """Return tickets as a policy orders them, each with its key and its reasons."""
    made = scoring.standings(policy, [facts for _, facts in tickets])
    ranked = [(ticket, *one) for (ticket, _), one in zip(tickets, made, strict=True)]
    return sorted(ranked, key=lambda each: (-each[0].tier, -each[1], each[0].start_time, each[0].id))


async def _facts(shop: Shop, stored: Stored) -> Facts:
    """Return all that the order needs of a ticket; who only reads waits for nobody who places tickets."""
    customer = await shop.places.customer(stored.ticket.customer_id)
    return await facts_of(shop, stored.ticket, stored.signals, customer)


async def _ranked(shop: Shop, stored: Stored, facts: Facts) -> tuple[Policy, Rank]:
    """Return a ticket's rank, and by what policy; a closed one keeps its place, whatever became known since."""
    if stored.ticket.status == "closed":
        return stored.policy, stored.rank
    policy = await _policy(shop)
    return policy, scoring.rank(policy, facts)


def _check_comparable(one: Ticket, other: Ticket) -> None:
    if one.id == other.id:
        raise ComparisonWithItselfError(one.number_text)
    if one.status != other.status:
        raise StatusesDifferError(one.number_text, one.status, other.number_text, other.status)


async def _policy(shop: Shop) -> Policy:
    """Return the policy that the lists are ordered by."""
    return await shop.policies.policy((await shop.places.rankings()).active.policy_version)
