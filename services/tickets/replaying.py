"""Replays a shop's past under each policy; it only reads."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.tickets.desk import Caller, Clock, utc_now
from services.tickets.facts import Facts
from services.tickets.policies import Policy
from services.tickets.replay_store import Asked, ReplayStore
from services.tickets.simulation.replay import Question, Replayed, replay
from services.tickets.store import Store
from services.tickets.targets import SlaSettings
from services.tickets.topics import TopicAlert
from services.tickets.turns import Turns

MAX_TICKETS, MAX_QUESTIONS = 5_000, 5_000
"""Of more than these, the newest count: as many as a processor replays within a second."""

MAX_OF_TENANT, MAX_OVERALL = 2, 8
"""How many replays may be under way or wait, of one tenant and of all; further ones are refused at once."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of it; `complete` unless there was more than is looked at."""

    begin: datetime
    policy: Policy
    questions: int
    complete: bool
    outcomes: Sequence[Replayed]


class Replaying:
    """Replays the past of shops, one at a time for each; that takes a processor for up to a second."""

    def __init__(self, store: Store, clock: Clock = utc_now) -> None:
        self._store = store
        self._past = ReplayStore(store.database)
        self._clock = clock
        self._turns = Turns(MAX_OF_TENANT, MAX_OVERALL)
        self._processor = asyncio.Lock()

    async def replay(self, caller: Caller, days: int) -> Replay:
        """Return what each policy would have made of the questions of tickets that were opened in the last days.

        Raises:
            TooManyReplaysError: as many as may are under way or wait already.
        """
        async with self._turns.turn(caller.tenant_id):
            return await self._replayed(caller.tenant_id, self._clock() - timedelta(days=days))

    async def _replayed(self, tenant: UUID, begin: datetime) -> Replay:
        asked = await self._past.asked(tenant, begin, MAX_TICKETS + 1, MAX_QUESTIONS + 1)
        async with self._store.shop(tenant) as shop:
            policy = await shop.policies.policy((await shop.places.rankings()).active.policy_version)
            sla = await shop.sla.settings()
            tickets = {one.ticket_id for one in asked}
            topics = await shop.topics.lifting_many(list(tickets))
        complete = len(tickets) <= MAX_TICKETS and len(asked) <= MAX_QUESTIONS
        questions = [_question(sla, one, topics.get(one.ticket_id, ())) for one in asked[:MAX_QUESTIONS]]
        async with self._processor:
            outcomes = await asyncio.to_thread(replay, questions, policy)
        return Replay(begin, policy, len(questions), complete, outcomes)


def _question(sla: SlaSettings, asked: Asked, topics: Sequence[TopicAlert]) -> Question:
    """Return a question with what its place depends on, and what the shop promises; the usual where it has not said."""
    hours, origin = sla.answer(asked.priority, asked.tags)
    targets = sla.targets(asked.priority, asked.tags)
    target = targets.first_response if asked.first else targets.next_response
    facts = Facts(
        asked.start,
        asked.priority,
        asked.customer,
        asked.signals,
        hours,
        origin,
        topic_weight=max((alert.weight for alert in topics), default=0.0),
    )
    return Question(facts, target, asked.answered)
