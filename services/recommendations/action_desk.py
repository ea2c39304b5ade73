"""What shops do with their policy of actions: each change is a new version, and any can be tried on past tickets."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from servicekit.database import Database
from servicekit.errors import FieldViolation
from servicekit.etag import etag, require
from services.recommendations import action_store, actions, advice_store, at_once, facts, policy_file
from services.recommendations.action_policy import ActionPolicy
from services.recommendations.action_store import Version
from services.recommendations.actions import Decision
from services.recommendations.customers import Clock, utc_now
from services.recommendations.errors import (
    ActionPolicyInvalidError,
    ActionPolicyNotFoundError,
    TicketNotFoundError,
)
from services.recommendations.policy_file import PolicyFileError, Problem
from services.recommendations.situations import Situations

_AT_ONCE = 8
"""How many tickets are looked at side by side."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A version as it stands: whether it is the one that holds, and the etag of the newest version."""

    version: Version
    active: bool
    etag: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A ticket under the policy that holds and under another one."""

    ticket_id: UUID
    now: Decision
    new: Decision

    @property
    def changed(self) -> bool:
        """Whether anything that is recommended would be different."""
        return _said(self.now) != _said(self.new)


@dataclass(frozen=True, slots=True)
class Preview:
    """Tickets under two policies, newest first; `skipped` are no longer there, or not for the caller."""

    tickets: Sequence[Compared]
    skipped: int


@dataclass(frozen=True, slots=True)
class Use:
    """How often an action is recommended, and what it gives away by currency in minor units."""

    count: int
    amounts: tuple[str, ...]


class ActionDesk:
    """Reads, changes and tries policies of all tenants."""

    def __init__(self, database: Database, situations: Situations, clock: Clock = utc_now) -> None:
        self._database = database
        self._situations = situations
        self._clock = clock

    async def get(self, tenant_id: UUID, number: int = 0) -> Shown:
        """Return a version of the policy; 0 is the one that holds.

        Raises:
            ActionPolicyNotFoundError: there is no such version.
        """
        async with self._database.tenant(tenant_id) as connection:
            newest = (await action_store.versions(connection, tenant_id, limit=1))[0]
            if number in {0, newest.policy.version}:
                return _shown(tenant_id, newest, newest)
            found = await action_store.version(connection, tenant_id, number)
        if found is None:
            raise ActionPolicyNotFoundError(number)
        return _shown(tenant_id, found, newest)

    async def versions(self, tenant_id: UUID, before: int | None, limit: int) -> list[Shown]:
        """Return versions older than `before`, newest first."""
        async with self._database.tenant(tenant_id) as connection:
            newest = (await action_store.versions(connection, tenant_id, limit=1))[0]
            found = await action_store.versions(connection, tenant_id, before=before, limit=limit)
        return [_shown(tenant_id, version, newest) for version in found]

    async def check(self, document: str) -> list[Problem]:
        """Return what is wrong with a YAML file; nothing when it could be a policy."""
        try:
            await asyncio.to_thread(policy_file.read, document)
        except PolicyFileError as error:
            return error.problems
        return []

    async def set(self, tenant_id: UUID, principal: str, document: str, expected: str, reason: str) -> Shown:
        """Make a new version of a YAML file.

        Raises:
            ActionPolicyInvalidError: the file is wrong or contradicts itself.
            EtagMismatchError: there is a newer version than the caller has seen.
        """
        read = await _read(document)
        made = Version(read, document, principal, reason, self._clock())
        return await self._add(tenant_id, made, expected)

    async def roll_back(self, tenant_id: UUID, principal: str, number: int, expected: str, reason: str) -> Shown:
        """Make a new version that decides as an earlier one did.

        Raises:
            ActionPolicyNotFoundError: there is no such version.
            EtagMismatchError: there is a newer version than the caller has seen.
        """
        earlier = (await self.get(tenant_id, number)).version
        why = reason or f"Back to version {number}"
        made = replace(earlier, principal=principal, reason=why, create_time=self._clock())
        return await self._add(tenant_id, made, expected)

    async def preview(self, tenant_id: UUID, document: str, number: int, size: int) -> Preview:
        """Return what a file or a version would recommend on the newest tickets that were given advice.

        Raises:
            ActionPolicyInvalidError: the file is wrong or contradicts itself.
            ActionPolicyNotFoundError: there is no such version.
            ConversationUnavailableError: the tickets service does not answer.
        """
        new = await _read(document) if document else (await self.get(tenant_id, number)).version.policy
        async with self._database.tenant(tenant_id) as connection:
            now = await action_store.policy(connection, tenant_id)
            tickets = await action_store.newest_tickets(connection, tenant_id, size)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def compare(ticket_id: UUID) -> Compared | None:
            async with limit:
                return await self._compare(tenant_id, ticket_id, now, new)

        compared = await at_once.every(compare(ticket_id) for ticket_id in tickets)
        found = [one for one in compared if one is not None]
        return Preview(found, len(compared) - len(found))

    async def _compare(self, tenant_id: UUID, ticket_id: UUID, now: ActionPolicy, new: ActionPolicy) -> Compared | None:
        try:
            _, conversation = await self._situations.conversation(str(ticket_id))
        except TicketNotFoundError:
            return None
        situation = await self._situations.of(tenant_id, ticket_id, conversation)
        before, after = (actions.decide(situation.case, policy, situation.given) for policy in (now, new))
        return Compared(ticket_id, before, after)

    async def _add(self, tenant_id: UUID, made: Version, expected: str) -> Shown:
        """Add a version after the newest one; all advice of the tenant is out of date with it."""
        async with self._database.tenant(tenant_id) as connection:
            await action_store.lock_versions(connection, tenant_id)
            newest = (await action_store.versions(connection, tenant_id, limit=1))[0]
            require(expected, _etag(tenant_id, newest))
            added = replace(made, policy=replace(made.policy, version=newest.policy.version + 1))
            await action_store.add(connection, tenant_id, added)
            await advice_store.outdate(connection, tenant_id)
        return _shown(tenant_id, added, added)


def uses(decisions: Iterable[Decision]) -> dict[str, Use]:
    """Return how often decisions recommend each action, and what it gives away in all, by currency."""
    counts: Counter[str] = Counter()
    amounts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for decision in decisions:
        for action in decision.actions:
            counts[action.code] += 1
            if action.amount_minor is not None:
                amounts[action.code][action.currency] += action.amount_minor
    return {
        code: Use(count, tuple(facts.amount(minor, currency) for currency, minor in sorted(amounts[code].items())))
        for code, count in counts.items()
    }


async def _read(document: str) -> ActionPolicy:
    """Return the policy of a file; reading it takes its time, so it does not keep others waiting."""
    try:
        return await asyncio.to_thread(policy_file.read, document)
    except PolicyFileError as error:
        violations = [
            FieldViolation(problem.field or "document", f"{_line(problem.line)}{problem.text}")
            for problem in error.problems
        ]
        raise ActionPolicyInvalidError(
            f"The policy file cannot be taken: {len(violations)} things are wrong with it.",
            metadata={"problems": str(len(violations))},
            violations=violations,
        ) from error


def _line(line: int) -> str:
    return f"Line {line}: " if line else ""


def _shown(tenant_id: UUID, version: Version, newest: Version) -> Shown:
    return Shown(version, version.policy.version == newest.policy.version, _etag(tenant_id, newest))


def _etag(tenant_id: UUID, newest: Version) -> str:
    return etag("action-policy", tenant_id, newest.policy.version)


def _said(decision: Decision) -> tuple[object, ...]:
    return decision.priority, decision.warnings, [(one.code, one.text, one.amount_minor) for one in decision.actions]
