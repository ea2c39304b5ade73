"""Advice on tickets: one current recommendation and one current draft, renewed when what they answer moves on.

An answer answers a version of the conversation and rests on a version of the customer's facts and of what the shop has
said (policies, articles, settings); as long as all of that stands, it stands. A draft keeps what was wished of it until
a message is added. The figures in a recommendation are of a day: after it they are computed again, and only if they say
something else there is a new one. Whatever took its time is dropped if the conversation has moved on meanwhile.
"""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from servicekit import outbox
from servicekit.database import Database
from servicekit.ids import uuid7
from services.recommendations import (
    actions,
    advice_store,
    attribution,
    drafts,
    gifts,
    grounds,
    outcome_store,
    outcomes,
    sentences,
    store,
)
from services.recommendations.advice_json import action_json, draft_json, recommendation_json
from services.recommendations.advice_store import DRAFT, RECOMMENDATION, Standing, StoredAdvice
from services.recommendations.answers import Answers, Lease
from services.recommendations.case import Conversation
from services.recommendations.conversations import Conversations
from services.recommendations.customers import Clock, Customers, utc_now
from services.recommendations.drafts import Draft, Wish
from services.recommendations.errors import ActionNotFoundError, ConversationMovedOnError
from services.recommendations.phrases import Length, Tone
from services.recommendations.situations import Situation, Situations
from services.recommendations.writers.composing import Told
from services.recommendations.writers.exchange import Task
from services.recommendations.writers.writing import Writing, again_after

_LOOK_AGAIN = timedelta(days=1)
"""After so long the figures of a recommendation are computed again."""

_SEAL = "seal"
"""The field of a recommendation's content that makes its token; it differs though all else says the same."""

_TASK = "task"
"""The field of a draft's content that tells what it was written of; the same draft may be written of something else."""

_MOST_ATTEMPTS = 3
"""How often an answer is computed for a conversation that moves on all the time."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A ticket that is asked about: its conversation, and how its advice stands."""

    ticket: str
    ticket_id: UUID
    conversation: Conversation
    standing: Standing

    @property
    def grounds(self) -> str:
        """A digest of what an answer must rest on to be up to date, besides the conversation."""
        parts = (self.standing.customer_id, str(self.standing.facts_version), str(self.standing.epoch))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]

    def rests(self, answer: StoredAdvice) -> bool:
        """Tell whether an answer rests on what holds now."""
        return (answer.conversation_version, answer.grounds) == (self.conversation.version, self.grounds)


class Advising:
    """Gives advice on the tickets of all tenants."""

    def __init__(
        self,
        database: Database,
        customers: Customers,
        conversations: Conversations,
        clock: Clock = utc_now,
        writing: Writing | None = None,
    ) -> None:
        """Let `writing` ask language models for drafts; without it the rules write them all."""
        self._database = database
        self._customers = customers
        self._situations = Situations(database, customers, conversations)
        self._answers = Answers(database, customers.doorbell)
        self._writing = writing
        self._clock = clock

    async def draft(self, tenant_id: UUID, ticket: str) -> dict[str, Any]:
        """Return the current draft; writes one when there is none for the present conversation and facts.

        Raises:
            TicketNotFoundError: there is no such ticket.
            ConversationUnavailableError: the conversation is not known at the moment.
            ConversationMovedOnError: the conversation moves on faster than it is answered.
        """
        _, current = await self._current(tenant_id, ticket, DRAFT)
        return draft_json(current)

    async def regenerate(
        self, tenant_id: UUID, ticket: str, wish: Wish, include_actions: Sequence[int] = ()
    ) -> dict[str, Any]:
        """Write the draft anew as it is wished for; `include_actions` are places of the recommendation's actions.

        Raises:
            TicketNotFoundError: there is no such ticket.
            ConversationUnavailableError: the conversation is not known at the moment.
            ConversationMovedOnError: the conversation moves on faster than it is answered.
        """
        wish = await self._with_actions(tenant_id, ticket, wish, include_actions)
        for _ in range(_MOST_ATTEMPTS):
            asked = await self._ask(tenant_id, ticket)
            async with self._answers.anew(tenant_id, asked.ticket_id, DRAFT) as lease:
                made = await self._write(tenant_id, asked, wish)
                if not await self._moved_on(asked) and await self._answers.replace(lease, made):
                    return draft_json(made)
        raise _too_fast(ticket)

    async def stream(
        self, tenant_id: UUID, ticket: str, wish: Wish, include_actions: Sequence[int] = ()
    ) -> AsyncGenerator[str | dict[str, Any] | None, None]:
        """Do what `regenerate` does, and yield the text by pieces, None where all is taken back, and last the draft.

        Raises:
            TicketNotFoundError: there is no such ticket.
            ConversationUnavailableError: the conversation is not known at the moment.
            ConversationMovedOnError: the conversation moves on faster than it is answered.
        """
        wish = await self._with_actions(tenant_id, ticket, wish, include_actions)
        for attempt in range(_MOST_ATTEMPTS):
            if attempt:
                yield None
            asked = await self._ask(tenant_id, ticket)
            async with self._answers.anew(tenant_id, asked.ticket_id, DRAFT) as lease:
                situation, task = await self._task(tenant_id, asked, wish)
                draft = task.fallback
                async with aclosing(self._tell(tenant_id, task)) as tellings:
                    async for told in tellings:
                        if isinstance(told, Draft):
                            draft = told
                        else:
                            yield told
                made = self._written(asked, situation, draft, wish, await self._digest(tenant_id, task))
                if not await self._moved_on(asked) and await self._answers.replace(lease, made):
                    yield draft_json(made)
                    return
        raise _too_fast(ticket)

    async def recommendation(self, tenant_id: UUID, ticket: str) -> dict[str, Any]:
        """Return the current recommendation; computes one when what it rests on has moved on.

        Raises:
            TicketNotFoundError: there is no such ticket.
            ConversationUnavailableError: the conversation is not known at the moment.
            ConversationMovedOnError: the conversation moves on faster than it is answered.
        """
        asked, current = await self._current(tenant_id, ticket, RECOMMENDATION)
        return recommendation_json(current, asked.standing.advice.get(DRAFT), asked.standing.ticks)

    async def complete_action(self, tenant_id: UUID, ticket: str, index: int, *, completed: bool) -> dict[str, Any]:
        """Tick an action of the current recommendation off, or take the tick back; returns the action.

        Raises:
            ActionNotFoundError: the recommendation has no action at this place.
            TicketNotFoundError: there is no such ticket.
            ConversationUnavailableError: the conversation is not known at the moment.
            ConversationMovedOnError: the conversation moves on faster than it is answered.
        """
        asked = await self._ask(tenant_id, ticket)
        # The place is one in what the agent has seen: another recommendation may have another action there.
        recommendation = asked.standing.advice.get(RECOMMENDATION)
        if recommendation is None:
            asked, recommendation = await self._current(tenant_id, ticket, RECOMMENDATION)
        offered = recommendation.content["actions"]
        if not 0 <= index < len(offered):
            raise ActionNotFoundError("The recommendation has no such action.", metadata={"index": str(index)})
        code = offered[index]["code"]
        async with self._database.tenant(tenant_id) as connection:
            await outcome_store.lock_events(connection, tenant_id)
            named = (asked.ticket_id, recommendation.id)
            made = (await outcome_store.recommended(connection, tenant_id, [named])).get(recommendation.id)
            if made is None:
                # It was erased since it was read; nothing may be kept of it.
                raise ActionNotFoundError("The recommendation has no such action.", metadata={"index": str(index)})
            changed = await (
                advice_store.complete(connection, tenant_id, asked.ticket_id, code, self._clock())
                if completed
                else advice_store.reopen(connection, tenant_id, asked.ticket_id, code)
            )
            ticks = await advice_store.completed(connection, tenant_id, [asked.ticket_id])
            if changed:
                customer_id = asked.conversation.customer_id
                await outcomes.tick(connection, tenant_id, customer_id, made, code, self._clock(), completed=completed)
                await outbox.append(connection, tenant_id, store.KIND_ADVICE, str(asked.ticket_id))
        if changed:
            await self._customers.announce(tenant_id)
        return action_json(offered[index], asked.ticket_id, ticks)

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

    async def _ask(self, tenant_id: UUID, ticket: str) -> _Asked:
        ticket_id, conversation = await self._situations.conversation(ticket)
        standing = await self._answers.standing(tenant_id, ticket_id, conversation.customer_id)
        return _Asked(ticket, ticket_id, conversation, standing)

    async def _look(self, tenant_id: UUID, asked: _Asked, kind: str) -> _Asked:
        """Look at a ticket's advice again; at its conversation as well if somebody answered a later version of it."""
        standing = await self._answers.standing(tenant_id, asked.ticket_id, asked.conversation.customer_id)
        current = standing.advice.get(kind)
        if current is not None and current.conversation_version > asked.conversation.version:
            return await self._ask(tenant_id, asked.ticket)
        return replace(asked, standing=standing)

    async def _moved_on(self, asked: _Asked) -> bool:
        _, conversation = await self._situations.conversation(asked.ticket)
        return conversation.version != asked.conversation.version

    async def _current(self, tenant_id: UUID, ticket: str, kind: str) -> tuple[_Asked, StoredAdvice]:
        """Return the answer that rests on what holds now; of all who ask for one that is not there one computes it."""
        asked, attempts = await self._ask(tenant_id, ticket), 0
        while (found := self._fresh(asked, kind)) is None:
            if attempts == _MOST_ATTEMPTS:
                last = asked.standing.advice.get(kind)
                if last is None or last.conversation_version != asked.conversation.version:
                    raise _too_fast(ticket)
                # Only what it rests on changes all the time: this one was right after the call began.
                return asked, last
            stored = False
            async with self._answers.lease(tenant_id, asked.ticket_id, kind) as lease:
                if lease is not None:
                    attempts += 1
                    asked = await self._look(tenant_id, asked, kind)
                    stored = self._fresh(asked, kind) is not None or await self._renew(lease, asked)
            if lease is None:
                await self._answers.wait()
            asked = await (
                self._look(tenant_id, asked, kind) if stored or lease is None else self._ask(tenant_id, ticket)
            )
        return asked, found

    def _fresh(self, asked: _Asked, kind: str) -> StoredAdvice | None:
        """Return what is current if it rests on what holds now and need not be computed again."""
        current = asked.standing.advice.get(kind)
        if current is None or not asked.rests(current):
            return None
        due = current.check_time is not None and current.check_time <= self._clock()
        return None if due else current

    async def _renew(self, lease: Lease, asked: _Asked) -> bool:
        """Compute an answer under a lease and make it the current one; False if the conversation has moved on."""
        current = asked.standing.advice.get(lease.kind)
        if lease.kind == RECOMMENDATION:
            made = await self._recommend(lease.tenant_id, asked, current)
        else:
            made = await self._rewrite(lease.tenant_id, asked, current)
        if await self._moved_on(asked):
            return False
        if current is not None and _same(current, made):
            kept = {name: current.content[name] for name in (_SEAL,) if name in current.content}
            same = replace(made, id=current.id, content={**made.content, **kept})
            return await self._answers.confirm(lease, same)
        return await self._answers.keep(lease, made)

    async def _with_actions(self, tenant_id: UUID, ticket: str, wish: Wish, places: Sequence[int]) -> Wish:
        """Return a wish for the actions at places of the recommendation that is current now, which the caller has seen.

        They are kept by their codes: at the same places another recommendation has other actions. A place without an
        action wishes for one that is not there, and the draft says so.
        """
        if not places:
            return wish
        asked = await self._ask(tenant_id, ticket)
        seen = asked.standing.advice.get(RECOMMENDATION)
        if seen is None:
            _, seen = await self._current(tenant_id, ticket, RECOMMENDATION)
        offered = [action["code"] for action in seen.content["actions"]]
        codes = (offered[place] if 0 <= place < len(offered) else "" for place in places)
        return replace(wish, actions=tuple(dict.fromkeys(codes)))

    async def _write(self, tenant_id: UUID, asked: _Asked, wish: Wish) -> StoredAdvice:
        situation, task = await self._task(tenant_id, asked, wish)
        return await self._written_by(tenant_id, asked, situation, task, wish)

    async def _rewrite(self, tenant_id: UUID, asked: _Asked, current: StoredAdvice | None) -> StoredAdvice:
        """Write the draft as it was wished for; where a model would be asked the same again, the draft stays."""
        wish = _wished(current, asked)
        situation, task = await self._task(tenant_id, asked, wish)
        due = current is None or (current.check_time is not None and current.check_time <= self._clock())
        if current is not None and not due and current.content.get(_TASK) == await self._digest(tenant_id, task):
            stays = self._stored(asked, situation, DRAFT, current.content, current.check_time)
            return replace(stays, tone=current.tone, length=current.length)
        return await self._written_by(tenant_id, asked, situation, task, wish)

    async def _written_by(
        self, tenant_id: UUID, asked: _Asked, situation: Situation, task: Task, wish: Wish
    ) -> StoredAdvice:
        draft = task.fallback if self._writing is None else await self._writing.write(tenant_id, task)
        return self._written(asked, situation, draft, wish, await self._digest(tenant_id, task))

    async def _digest(self, tenant_id: UUID, task: Task) -> str:
        """Return a digest of all that a draft is written of, and of the model that writes it."""
        model = await self._writing.source(tenant_id) if self._writing is not None else ""
        return hashlib.sha256(
            repr((model, task.conversation.version, tuple(task.facts), task.fallback)).encode()
        ).hexdigest()[:24]

    async def _tell(self, tenant_id: UUID, task: Task) -> AsyncGenerator[Told, None]:
        """Yield a draft's text by pieces, None where all is taken back, and last the draft."""
        if self._writing is not None:
            async with aclosing(self._writing.stream(tenant_id, task)) as tellings:
                async for told in tellings:
                    yield told
            return
        for piece in sentences.pieces(task.fallback.text):
            yield piece
        yield task.fallback

    async def _task(self, tenant_id: UUID, asked: _Asked, wish: Wish) -> tuple[Situation, Task]:
        """Return what is to be written, with the rules' own draft in it."""
        situation = await self._situations.of(
            tenant_id, asked.ticket_id, asked.conversation, language=wish.language, offers=wish.include_offer
        )
        offered = actions.decide(situation.case, situation.policy, situation.given).actions
        draft = drafts.write(situation.case, wish, drafts.steps_for(situation.case, offered, wish))
        known = {fact.id: fact for fact in (*grounds.facts_of(situation.case), *draft.facts)}
        return situation, Task(situation.case, tuple(known.values()), asked.conversation, draft, situation.contact)

    def _written(self, asked: _Asked, situation: Situation, draft: Draft, wish: Wish, digest: str) -> StoredAdvice:
        content = {
            "draft": draft.text,
            "personalization": list(draft.personalization),
            "language": draft.language,
            "source": draft.source,
            "labels": list(draft.labels),
            "facts": [fact.to_json() for fact in draft.facts],
            "wish": {**asdict(wish), "actions": list(wish.actions)},
            _TASK: digest,
        }
        wait = again_after(draft)
        check = self._clock() + wait if wait else None
        made = self._stored(asked, situation, DRAFT, content, check)
        return replace(made, tone=draft.tone, length=draft.length)

    async def _recommend(self, tenant_id: UUID, asked: _Asked, current: StoredAdvice | None) -> StoredAdvice:
        situation = await self._situations.of(tenant_id, asked.ticket_id, asked.conversation)
        made = self._recommended(asked, situation, situation.given)
        if situation.given == situation.given_in_all or (current is not None and _same(current, made)):
            return made
        # What the current one gave away was given: another one may give only what that leaves.
        return self._recommended(asked, situation, situation.given_in_all)

    def _recommended(self, asked: _Asked, situation: Situation, given: gifts.Standing) -> StoredAdvice:
        advice = actions.decide(situation.case, situation.policy, given)
        content = {
            "priority": advice.priority,
            "actions": [action.to_json(place) for place, action in enumerate(advice.actions, start=1)],
            "talking_points": list(advice.talking_points),
            "warnings": list(advice.warnings),
            "estimated_impact": {
                "retention_probability": advice.retention_probability,
                "revenue_at_risk": advice.revenue_at_risk,
            },
            "facts": [fact.to_json() for fact in advice.facts],
            "policy_version": advice.policy_version,
            "order_id": situation.case.order.order_id if situation.case.order else "",
            _SEAL: attribution.new_secret(),
        }
        return self._stored(asked, situation, RECOMMENDATION, content, self._clock() + _LOOK_AGAIN)

    def _stored(
        self, asked: _Asked, situation: Situation, kind: str, content: dict[str, Any], check: datetime | None
    ) -> StoredAdvice:
        return StoredAdvice(
            id=uuid7(),
            ticket_id=asked.ticket_id,
            kind=kind,
            content=content,
            conversation_version=asked.conversation.version,
            facts_version=situation.facts_version,
            tone="",
            length="",
            create_time=self._clock(),
            grounds=asked.grounds,
            check_time=check,
        )


def wish_of(tone: str, length: str, language: str = "", template: str = "", *, include_offer: bool = False) -> Wish:
    """Return a wish in the words of a request; empty texts mean the defaults."""
    return Wish(_tone(tone), _length(length), language, include_offer, template)


def _wished(current: StoredAdvice | None, asked: _Asked) -> Wish:
    """Return what was wished of a draft on this very conversation, or the default."""
    if current is None or current.conversation_version != asked.conversation.version:
        return Wish()
    wish = current.content.get("wish", {})
    same = wish_of(
        current.tone,
        current.length,
        wish.get("language", ""),
        wish.get("template", ""),
        include_offer=wish.get("include_offer", False),
    )
    return replace(same, actions=tuple(wish.get("actions", ())))


def _same(one: StoredAdvice, other: StoredAdvice) -> bool:
    """Tell whether two answers to the same version of the conversation say the same."""
    if one.conversation_version != other.conversation_version:
        return False
    one_content, other_content = ({**each.content, _SEAL: "", _TASK: ""} for each in (one, other))
    return (one_content, one.tone, one.length) == (other_content, other.tone, other.length)


def _too_fast(ticket: str) -> ConversationMovedOnError:
    return ConversationMovedOnError(
        "The conversation moves on faster than it can be answered; try again.", metadata={"ticket": ticket}
    )


def _tone(name: str) -> Tone:
    return next((tone for tone in ("friendly", "professional", "apologetic") if tone == name), drafts.DEFAULT_TONE)


def _length(name: str) -> Length:
    return next((length for length in ("short", "long") if length == name), drafts.DEFAULT_LENGTH)
