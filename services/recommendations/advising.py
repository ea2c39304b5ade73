"""Advice on tickets: one current recommendation and one current draft, renewed when what they answer moves on.

A draft answers a version of the conversation and of the customer's facts, in the tone that was asked for; it stays
until a message is added, and with changed facts it is written anew in its tone. A recommendation is renewed by either,
and after a day for the figures in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from servicekit import outbox
from servicekit.database import Database
from servicekit.ids import uuid7
from services.recommendations import actions, advice_store, case, drafts, order_store, store
from services.recommendations.advice_store import DRAFT, RECOMMENDATION, StoredAdvice
from services.recommendations.case import Case, Conversation, Customer, Order, Parcel
from services.recommendations.catalogue import Action
from services.recommendations.conversations import Conversations
from services.recommendations.customers import Clock, Customers, Known, utc_now
from services.recommendations.errors import ActionNotFoundError, TicketNotFoundError
from services.recommendations.order_store import OrderFilter, StoredOrder
from services.recommendations.phrases import Length, Tone

SOURCE = "rules"
"""Where advice comes from, as every answer says it."""

_RENEW_AFTER = timedelta(days=1)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Situation:
    """A ticket at this moment: its id, its conversation, what is known of the customer, and the case they make."""

    ticket_id: UUID
    conversation: Conversation
    facts_version: int
    case: Case


class Advising:
    """Gives advice on the tickets of all tenants."""

    def __init__(
        self, database: Database, customers: Customers, conversations: Conversations, clock: Clock = utc_now
    ) -> None:
        self._database = database
        self._customers = customers
        self._conversations = conversations
        self._clock = clock

    async def draft(self, tenant_id: UUID, ticket: str) -> dict[str, Any]:
        """Return the current draft; writes one when there is none for the present conversation and facts.

        Raises:
            TicketNotFoundError: there is no such ticket.
            ConversationUnavailableError: the conversation is not known at the moment.
        """
        situation = await self._situation(tenant_id, ticket)
        current = await self._current(tenant_id, situation.ticket_id, DRAFT)
        if current is not None and _answers(current, situation):
            return draft_json(current)
        tone, length = drafts.DEFAULT_TONE, drafts.DEFAULT_LENGTH
        if current is not None and current.conversation_version == situation.conversation.version:
            tone, length = _tone(current.tone), _length(current.length)
        written = self._write_draft(situation, tone, length)
        return draft_json(await self._keep(tenant_id, written, replaces=_LONG_AGO))

    async def regenerate(
        self, tenant_id: UUID, ticket: str, tone: str, length: str, include_actions: Sequence[int]
    ) -> dict[str, Any]:
        """Write the draft anew; empty texts mean the default tone and length.

        Raises:
            TicketNotFoundError: there is no such ticket.
            ConversationUnavailableError: the conversation is not known at the moment.
        """
        situation = await self._situation(tenant_id, ticket)
        offered = actions.advise(situation.case).actions
        steps = [offered[index] for index in dict.fromkeys(include_actions) if 0 <= index < len(offered)]
        written = self._write_draft(situation, _tone(tone), _length(length), steps)
        return draft_json(await self._keep(tenant_id, written, replaces=None))

    async def recommendation(self, tenant_id: UUID, ticket: str) -> dict[str, Any]:
        """Return the current recommendation; computes one when what it rests on has moved on.

        Raises:
            TicketNotFoundError: there is no such ticket.
            ConversationUnavailableError: the conversation is not known at the moment.
        """
        situation = await self._situation(tenant_id, ticket)
        await self._ensure_recommendation(tenant_id, situation)
        found = await self.current(tenant_id, [situation.ticket_id])
        return found[situation.ticket_id][RECOMMENDATION]

    async def complete_action(self, tenant_id: UUID, ticket: str, index: int, *, completed: bool) -> dict[str, Any]:
        """Tick an action of the current recommendation off, or take the tick back; returns the action.

        Raises:
            ActionNotFoundError: the recommendation has no action at this place.
            TicketNotFoundError: there is no such ticket.
            ConversationUnavailableError: the conversation is not known at the moment.
        """
        situation = await self._situation(tenant_id, ticket)
        recommendation = await self._ensure_recommendation(tenant_id, situation)
        offered = recommendation.content["actions"]
        if not 0 <= index < len(offered):
            raise ActionNotFoundError("The recommendation has no such action.", metadata={"index": str(index)})
        code = offered[index]["code"]
        async with self._database.tenant(tenant_id) as connection:
            if completed:
                await advice_store.complete(connection, tenant_id, situation.ticket_id, code, self._clock())
            else:
                await advice_store.reopen(connection, tenant_id, situation.ticket_id, code)
            ticks = await advice_store.completed(connection, tenant_id, [situation.ticket_id])
            await outbox.append(connection, tenant_id, store.KIND_ADVICE, str(situation.ticket_id))
        await self._customers.announce()
        return _action_json(offered[index], situation.ticket_id, ticks)

    async def current(self, tenant_id: UUID, ticket_ids: Sequence[UUID]) -> dict[UUID, dict[str, dict[str, Any]]]:
        """Return what is current, by ticket and kind, as it is shown; a ticket without any is left out."""
        async with self._database.tenant(tenant_id) as connection:
            rows = await advice_store.load(connection, tenant_id, ticket_ids)
            ticks = await advice_store.completed(connection, tenant_id, ticket_ids)
        by_ticket: dict[UUID, dict[str, StoredAdvice]] = {}
        for row in rows:
            by_ticket.setdefault(row.ticket_id, {})[row.kind] = row
        shown: dict[UUID, dict[str, dict[str, Any]]] = {}
        for ticket_id, kinds in by_ticket.items():
            draft, recommendation = kinds.get(DRAFT), kinds.get(RECOMMENDATION)
            shown[ticket_id] = {}
            if draft is not None:
                shown[ticket_id][DRAFT] = draft_json(draft)
            if recommendation is not None:
                shown[ticket_id][RECOMMENDATION] = recommendation_json(recommendation, draft, ticks)
        return shown

    async def _situation(self, tenant_id: UUID, ticket: str) -> _Situation:
        """Return a ticket with everything that advice on it rests on."""
        conversation = await self._conversations.get(ticket)
        try:
            ticket_id = UUID(conversation.ticket_id)
        except ValueError as error:
            raise TicketNotFoundError("There is no such ticket.", metadata={"ticket": ticket}) from error
        found = await self._customers.find(tenant_id, [conversation.customer_id]) if conversation.customer_id else []
        known = found[0] if found else None
        named = await self._named_order(tenant_id, conversation) if known else None
        made = case.assemble(conversation, _customer(known), named, _newest_order(known))
        return _Situation(ticket_id, conversation, known.facts_version if known else 0, made)

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

    async def _current(self, tenant_id: UUID, ticket_id: UUID, kind: str) -> StoredAdvice | None:
        async with self._database.tenant(tenant_id) as connection:
            rows = await advice_store.load(connection, tenant_id, [ticket_id])
        return next((row for row in rows if row.kind == kind), None)

    async def _ensure_recommendation(self, tenant_id: UUID, situation: _Situation) -> StoredAdvice:
        """Return the current recommendation, computed now if what it rests on has moved on."""
        current = await self._current(tenant_id, situation.ticket_id, RECOMMENDATION)
        fresh_since = self._clock() - _RENEW_AFTER
        if current is not None and _answers(current, situation) and current.create_time > fresh_since:
            return current
        return await self._keep(tenant_id, self._recommend(situation), replaces=fresh_since)

    async def _keep(self, tenant_id: UUID, advice: StoredAdvice, *, replaces: datetime | None) -> StoredAdvice:
        """Make advice the current one, unless somebody else was faster; return what is current."""
        async with self._database.tenant(tenant_id) as connection:
            if await advice_store.keep(connection, tenant_id, advice, replaces=replaces):
                await outbox.append(connection, tenant_id, store.KIND_ADVICE, str(advice.ticket_id))
                current = advice
            else:
                rows = await advice_store.load(connection, tenant_id, [advice.ticket_id])
                current = next(row for row in rows if row.kind == advice.kind)
        if current is advice:
            await self._customers.announce()
        return current

    def _write_draft(
        self, situation: _Situation, tone: Tone, length: Length, steps: Sequence[Action] = ()
    ) -> StoredAdvice:
        draft = drafts.write(situation.case, drafts.Wish(tone, length), steps)
        content = {"draft": draft.text, "personalization": list(draft.personalization)}
        return self._stored(situation, DRAFT, content, tone, length)

    def _recommend(self, situation: _Situation) -> StoredAdvice:
        advice = actions.advise(situation.case)
        content = {
            "priority": advice.priority,
            "actions": [
                {"code": action.code, "action": action.text, "reasoning": action.reason, "priority": place}
                for place, action in enumerate(advice.actions, start=1)
            ],
            "talking_points": list(advice.talking_points),
            "warnings": list(advice.warnings),
            "estimated_impact": {
                "retention_probability": advice.retention_probability,
                "revenue_at_risk": advice.revenue_at_risk,
            },
        }
        return self._stored(situation, RECOMMENDATION, content, "", "")

    def _stored(
        self, situation: _Situation, kind: str, content: dict[str, Any], tone: str, length: str
    ) -> StoredAdvice:
        return StoredAdvice(
            uuid7(),
            situation.ticket_id,
            kind,
            content,
            situation.conversation.version,
            situation.facts_version,
            tone,
            length,
            self._clock(),
        )


def draft_json(stored: StoredAdvice) -> dict[str, Any]:
    """Return a draft as it is shown."""
    return {
        "ticket_id": str(stored.ticket_id),
        "draft": stored.content["draft"],
        "tone": stored.tone,
        "length": stored.length,
        "personalization_applied": stored.content["personalization"],
        "generated_at": moment(stored.create_time),
        "source": SOURCE,
    }


def recommendation_json(
    stored: StoredAdvice, draft: StoredAdvice | None, ticks: Mapping[tuple[UUID, str], datetime]
) -> dict[str, Any]:
    """Return a recommendation as it is shown, with the draft if that answers the same conversation."""
    fitting = draft if draft and draft.conversation_version == stored.conversation_version else None
    return {
        "id": str(stored.id),
        "ticket_id": str(stored.ticket_id),
        "priority": stored.content["priority"],
        "actions": [_action_json(action, stored.ticket_id, ticks) for action in stored.content["actions"]],
        "talking_points": stored.content["talking_points"],
        "warnings": stored.content["warnings"],
        "estimated_impact": stored.content["estimated_impact"],
        "draft_response": fitting.content["draft"] if fitting else "",
        "draft_tone": fitting.tone if fitting else "",
        "draft_personalization": fitting.content["personalization"] if fitting else [],
        "generated_at": moment(stored.create_time),
        "expires_at": moment(stored.create_time + _RENEW_AFTER),
        "source": SOURCE,
    }


def moment(when: datetime) -> str:
    """Return a time as RFC 3339 in UTC, with a Z."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _action_json(
    action: Mapping[str, Any], ticket_id: UUID, ticks: Mapping[tuple[UUID, str], datetime]
) -> dict[str, Any]:
    ticked = ticks.get((ticket_id, action["code"]))
    return {
        "action": action["action"],
        "priority": action["priority"],
        "reasoning": action["reasoning"],
        "completed": ticked is not None,
        "completed_at": moment(ticked) if ticked else None,
    }


def _answers(stored: StoredAdvice, situation: _Situation) -> bool:
    return (stored.conversation_version, stored.facts_version) == (
        situation.conversation.version,
        situation.facts_version,
    )


def _tone(name: str) -> Tone:
    return next((tone for tone in ("friendly", "professional", "apologetic") if tone == name), drafts.DEFAULT_TONE)


def _length(name: str) -> Length:
    return next((length for length in ("short", "long") if length == name), drafts.DEFAULT_LENGTH)


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
