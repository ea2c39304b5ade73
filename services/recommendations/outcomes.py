"""What becomes of recommendations, as agents and clients tell it, and reports on it."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit import money
from servicekit.database import Database
from servicekit.errors import FieldViolation
from services.recommendations import action_store, at_once, attribution, outcome_store
from services.recommendations.action_policy import DEFAULT
from services.recommendations.action_store import Given
from services.recommendations.attribution import (
    ACCEPTED,
    DONE,
    EDITED,
    REJECTED,
    SHOWN,
    WHOLE,
    WITHDRAWN,
    Event,
    Named,
)
from services.recommendations.customers import Clock, utc_now
from services.recommendations.errors import (
    RecommendationEventInvalidError,
    RecommendationNotFoundError,
    TicketNotFoundError,
)
from services.recommendations.gifts import Grant
from services.recommendations.outcome_store import Recommended
from services.recommendations.reporting import Line
from services.recommendations.situations import Situations

_REPORTED = timedelta(days=90)
_DECIDED = frozenset({ACCEPTED, EDITED, REJECTED})
_AT_ONCE = 8
"""How many tickets are asked about side by side."""


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody tells of a recommendation: `value` is one of `attribution.SLOTS`, or empty for an unknown one.

    `when` is None for now, and then it replaces nothing that was told before; `amount` is what was really given away in
    main units, empty for what was recommended.
    """

    token: str
    value: str
    action: str = ""
    when: datetime | None = None
    amount: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the recommendations of a time."""

    lines: Sequence[Line]
    since: datetime
    until: datetime


class Outcomes:
    """Takes down what becomes of recommendations of all tenants."""

    def __init__(self, database: Database, situations: Situations, clock: Clock = utc_now) -> None:
        self._database = database
        self._situations = situations
        self._clock = clock

    async def record(self, tenant_id: UUID, told: Sequence[Told]) -> int:
        """Take down all events or none; return how many of them were news.

        Raises:
            RecommendationNotFoundError: a token names no recommendation that is still there.
            RecommendationEventInvalidError: an event does not fit its recommendation or its kind.
            ConversationUnavailableError: whom something was given cannot be found out at the moment.
        """
        named = _named(told)
        wanted = sorted({(one.ticket_id, one.recommendation_id) for one in named})
        async with self._database.tenant(tenant_id) as connection:
            found = await outcome_store.recommended(connection, tenant_id, wanted)
        subjects = _subjects(named, found)
        _check(told, subjects)
        customers = await self._customers(
            {subject.ticket_id for one, subject in zip(told, subjects, strict=True) if _concerns_gift(one, subject)}
        )
        now = self._clock()
        events = [_events(one, subject, now) for one, subject in zip(told, subjects, strict=True)]
        async with self._database.tenant(tenant_id) as connection:
            await outcome_store.lock_events(connection, tenant_id)
            # Whom it was about may have been erased since: nothing may be kept of them then.
            _subjects(named, await outcome_store.recommended(connection, tenant_id, wanted))
            news = await outcome_store.record(connection, tenant_id, [event for each in events for event in each])
            recorded, given = 0, []
            for one, subject, told_of in zip(told, subjects, events, strict=True):
                mine = news.intersection(told_of)
                news -= mine
                recorded += bool(mine)
                customer_id = customers.get(subject.ticket_id, "")
                if mine and customer_id and _concerns_gift(one, subject):
                    given.append(_given(customer_id, subject, one, told_of[0].when))
            await action_store.give(connection, tenant_id, given)
        return recorded

    async def _customers(self, tickets: set[UUID]) -> dict[UUID, str]:
        """Return the customers of tickets, as the tickets service tells them to the caller."""
        found: dict[UUID, str] = {}
        limit = asyncio.Semaphore(_AT_ONCE)

        async def ask(ticket_id: UUID) -> None:
            async with limit:
                with contextlib.suppress(TicketNotFoundError):
                    found[ticket_id] = (await self._situations.conversation(str(ticket_id)))[1].customer_id

        await at_once.every(ask(ticket_id) for ticket_id in sorted(tickets))
        return found

    async def report(
        self, tenant_id: UUID, since: datetime | None, until: datetime | None, policy_version: int
    ) -> Report:
        """Return what became of the recommendations of a time; version 0 for all versions of the policy."""
        end = until or self._clock()
        start = since or end - _REPORTED
        async with self._database.tenant(tenant_id) as connection:
            lines = await outcome_store.report(connection, tenant_id, start, end, policy_version)
        return Report(lines, start, end)


async def tick(
    connection: AsyncConnection,
    tenant_id: UUID,
    customer_id: str,
    made: Recommended,
    code: str,
    when: datetime,
    *,
    completed: bool,
) -> None:
    """Take down that an agent ticked an action of a recommendation off, or took the tick back.

    A tick says no more than what was told of the action already. Taken back is what was decided last of it on the
    ticket, be it under an earlier recommendation. The caller holds the lock of events.
    """
    if completed:
        if await outcome_store.decision(connection, tenant_id, made.recommendation_id, code) in DONE:
            return
        subject, told = made, Told("", ACCEPTED, code, when)
    else:
        done = await outcome_store.newest_done(connection, tenant_id, made.ticket_id, code)
        if done is None:
            return
        subject, told = done[0], Told("", WITHDRAWN, code, max(when, done[1]))
    events = _events(told, subject, told.when or when)
    news = await outcome_store.record(connection, tenant_id, events)
    if news and customer_id and _concerns_gift(replace(told, value=ACCEPTED), subject):
        given = _given(customer_id, subject, told, when)
        await action_store.give(connection, tenant_id, [given])


def _named(told: Sequence[Told]) -> list[Named]:
    named: list[Named] = []
    bad = []
    for place, one in enumerate(told):
        try:
            named.append(attribution.opened(one.token))
        except ValueError:
            bad.append(place)
    if bad:
        raise _invalid(bad)
    return named


def _subjects(named: Sequence[Named], found: Mapping[UUID, Recommended]) -> list[Recommended]:
    """Return the recommendation that each token names."""
    subjects, bad = [], []
    for place, one in enumerate(named):
        subject = found.get(one.recommendation_id)
        if subject is not None and attribution.fits(one, subject.content.get("seal", "")):
            subjects.append(subject)
        else:
            bad.append(place)
    if bad:
        raise _invalid(bad)
    return subjects


def _invalid(places: Sequence[int]) -> RecommendationNotFoundError:
    violations = [
        FieldViolation(f"events[{place}].attribution_token", "This names no recommendation.") for place in places
    ]
    return RecommendationNotFoundError("A token names no recommendation of this shop.", violations=violations)


def _check(told: Sequence[Told], subjects: Sequence[Recommended]) -> None:
    """Refuse events that do not fit their recommendation or their kind, all of them at once."""
    violations = []
    for place, (one, subject) in enumerate(zip(told, subjects, strict=True)):
        problem = _problem(one, subject)
        if problem:
            violations.append(FieldViolation(f"events[{place}].{problem[0]}", problem[1]))
    if violations:
        raise RecommendationEventInvalidError("An event does not fit its recommendation.", violations=violations)


def _problem(one: Told, subject: Recommended) -> tuple[str, str] | None:
    """Return the field that is wrong with an event, and why."""
    action = _action(subject, one.action)
    if not one.value:
        return "outcome", "An outcome is told with KIND_OUTCOME, and only with it."
    if one.action and action is None:
        return "action", "The recommendation holds no such action."
    if one.value in _DECIDED and not one.action:
        return "action", "A decision is about one action."
    if one.value not in _DECIDED | {SHOWN} and one.action:
        return "action", "An outcome is of the recommendation as a whole."
    if one.amount and (one.value != EDITED or action is None or action.get("amount_minor") is None):
        return "amount", "An amount is told with KIND_EDITED of an action that gives one away."
    return None


def _action(subject: Recommended, code: str) -> Mapping[str, Any] | None:
    return next((action for action in subject.content["actions"] if action["code"] == code), None)


def _events(one: Told, subject: Recommended, now: datetime) -> list[Event]:
    when, timed = min(one.when or now, now), one.when is not None
    version = subject.content.get("policy_version", DEFAULT.version)
    whole = one.value == SHOWN and not one.action
    codes = [action["code"] for action in subject.content["actions"]] if whole else [one.action or WHOLE]
    return [Event(subject.recommendation_id, code, one.value, version, when, timed) for code in codes]


def _concerns_gift(one: Told, subject: Recommended) -> bool:
    """Tell whether an event says whether something was given away."""
    action = _action(subject, one.action)
    return one.value in _DECIDED and action is not None and bool(action.get("gives"))


def _given(customer_id: str, subject: Recommended, one: Told, when: datetime) -> Given:
    """Return what a customer was given by a decision, or that it was not."""
    action, grant = _action(subject, one.action), None
    if action is not None and one.value in DONE:
        currency = action.get("currency", "")
        minor = money.minor_units(one.amount, currency) if one.amount else action.get("amount_minor") or 0
        grant = Grant(action["gives"], minor, currency, when.date(), subject.content.get("order_id", ""))
    return Given(customer_id, subject.ticket_id, subject.recommendation_id, one.action, grant, when)
