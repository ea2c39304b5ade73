"""The SQL of policies of actions: their versions, and what customers were given under them."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recommendations.action_policy import DEFAULT, ActionPolicy, policy_of, settings_of
from services.recommendations.action_tables import action_grants, action_policies
from services.recommendations.gifts import Grant
from services.recommendations.tables import advice, customer_links, customers

_RECOMMENDATION = "recommendation"
_KEPT = 1_000
_MOST_GRANTS = 500

_known: OrderedDict[tuple[UUID, int], ActionPolicy] = OrderedDict()
"""Versions that the process has read; a version never changes, so what is kept is never out of date."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a tenant's policy: its file, who made it, when and why."""

    policy: ActionPolicy
    document: str = ""
    principal: str = ""
    reason: str = ""
    create_time: datetime | None = None


async def policy(connection: AsyncConnection, tenant_id: UUID) -> ActionPolicy:
    """Return the policy that holds: the newest version, or the default."""
    newest = select(func.max(action_policies.c.version)).where(action_policies.c.tenant_id == tenant_id)
    number = await connection.scalar(newest)
    if number is None:
        return DEFAULT
    kept = _known.get((tenant_id, number))
    return kept or _keep(tenant_id, (await versions(connection, tenant_id, limit=1))[0].policy)


def _keep(tenant_id: UUID, policy: ActionPolicy) -> ActionPolicy:
    _known[tenant_id, policy.version] = policy
    if len(_known) > _KEPT:
        _known.popitem(last=False)
    return policy


async def lock_versions(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Let nobody else add a version until the transaction ends."""
    key = func.hashtextextended(f"recommendations.action_policies:{tenant_id}", 0)
    await connection.execute(select(func.pg_advisory_xact_lock(key)))


async def version(connection: AsyncConnection, tenant_id: UUID, number: int) -> Version | None:
    """Return a version; None when there is none."""
    if number == DEFAULT.version:
        return Version(DEFAULT)
    columns = action_policies.c
    wanted = select(action_policies).where(columns.tenant_id == tenant_id, columns.version == number)
    row = (await connection.execute(wanted)).mappings().first()
    return _version(row) if row is not None else None


async def versions(
    connection: AsyncConnection, tenant_id: UUID, *, before: int | None = None, limit: int
) -> list[Version]:
    """Return versions older than `before`, newest first; the last one of all is the default, which nobody made."""
    columns = action_policies.c
    wanted = select(action_policies).where(columns.tenant_id == tenant_id)
    if before is not None:
        wanted = wanted.where(columns.version < before)
    found = (await connection.execute(wanted.order_by(columns.version.desc()).limit(limit))).mappings()
    listed = [_version(row) for row in found]
    if len(listed) < limit and (before is None or before > DEFAULT.version):
        listed.append(Version(DEFAULT))
    return listed


async def add(connection: AsyncConnection, tenant_id: UUID, version: Version) -> None:
    """Add the version after the newest one."""
    values = {
        "version": version.policy.version,
        "document": version.document,
        "settings": settings_of(version.policy),
        "principal": version.principal,
        "reason": version.reason,
        "create_time": version.create_time,
    }
    await connection.execute(insert(action_policies).values(tenant_id=tenant_id, **values))


def _version(row: RowMapping) -> Version:
    return Version(
        policy_of(row["version"], row["settings"]),
        row["document"],
        row["principal"],
        row["reason"],
        row["create_time"],
    )


async def grants(
    connection: AsyncConnection, tenant_id: UUID, customer_id: str, answered: tuple[UUID, int]
) -> tuple[list[Grant], list[Grant]]:
    """Return all that a customer was given, the newest first, and that without what the current recommendation gave.

    That is the recommendation on `answered`, a ticket at a version of its conversation; without one both are the same.
    """
    ticket_id, version = answered
    columns, current = action_grants.c, advice.c
    own = select(current.id).where(
        current.tenant_id == tenant_id,
        current.ticket_id == ticket_id,
        current.kind == _RECOMMENDATION,
        current.conversation_version == version,
    )
    wanted = (
        select(action_grants, (columns.recommendation_id.in_(own)).label("own"))
        .where(columns.tenant_id == tenant_id, _same_person(tenant_id, customer_id))
        .order_by(columns.grant_time.desc())
        .limit(_MOST_GRANTS)
    )
    found = [(row, _grant(row)) for row in (await connection.execute(wanted)).mappings()]
    return [grant for _, grant in found], [grant for row, grant in found if not row["own"]]


def _grant(row: RowMapping) -> Grant:
    on = row["grant_time"].astimezone(UTC).date()
    return Grant(row["gift"], row["amount_minor"], row["currency"], on, row["order_id"])


def _same_person(tenant_id: UUID, customer_id: str) -> ColumnElement[bool]:
    """Return the condition that a grant is of a customer, or of one who was merged into that customer."""
    links = customer_links.c
    merged = select(links.customer_id).where(links.tenant_id == tenant_id, links.survivor_id == customer_id)
    return or_(action_grants.c.customer_id == customer_id, action_grants.c.customer_id.in_(merged))


@dataclass(frozen=True, slots=True)
class Given:
    """Something that a customer was given by an action of a recommendation, or (None) was not given after all."""

    customer_id: str
    ticket_id: UUID
    recommendation_id: UUID
    code: str
    grant: Grant | None
    when: datetime


async def give(connection: AsyncConnection, tenant_id: UUID, given: Sequence[Given]) -> None:
    """Keep what customers were given; what advice on them rests on has changed with it."""
    changed = {
        *await _keep_grants(connection, tenant_id, [(one, one.grant) for one in given if one.grant is not None]),
        *await _take_back(connection, tenant_id, [one for one in given if one.grant is None]),
    }
    if changed:
        await _facts_changed(connection, tenant_id, sorted(changed))


async def _keep_grants(
    connection: AsyncConnection, tenant_id: UUID, given: Sequence[tuple[Given, Grant]]
) -> Sequence[str]:
    """Return the customers who were given something else than was kept."""
    if not given:
        return ()
    values = [
        {
            "tenant_id": tenant_id,
            "customer_id": one.customer_id,
            "ticket_id": one.ticket_id,
            "recommendation_id": one.recommendation_id,
            "action_code": one.code,
            "order_id": grant.order_id,
            "gift": grant.gift,
            "amount_minor": grant.amount_minor,
            "currency": grant.currency,
            "grant_time": one.when,
        }
        for one, grant in given
    ]
    inserted = insert(action_grants).values(values)
    old, new = action_grants.c, inserted.excluded
    kept = await connection.execute(
        inserted.on_conflict_do_update(
            index_elements=[column.name for column in action_grants.primary_key],
            set_={"amount_minor": new.amount_minor, "grant_time": new.grant_time},
            where=tuple_(old.amount_minor, old.grant_time) != tuple_(new.amount_minor, new.grant_time),
        ).returning(old.customer_id)
    )
    found: Sequence[str] = kept.scalars().all()
    return found


async def _take_back(connection: AsyncConnection, tenant_id: UUID, given: Sequence[Given]) -> Sequence[str]:
    """Return the customers who had been given something."""
    if not given:
        return ()
    columns = action_grants.c
    named = [(one.customer_id, one.ticket_id, one.recommendation_id, one.code) for one in given]
    key = tuple_(columns.customer_id, columns.ticket_id, columns.recommendation_id, columns.action_code)
    gone = delete(action_grants).where(columns.tenant_id == tenant_id, key.in_(named))
    found: Sequence[str] = (await connection.execute(gone.returning(columns.customer_id))).scalars().all()
    return found


async def _facts_changed(connection: AsyncConnection, tenant_id: UUID, customer_ids: Sequence[str]) -> None:
    columns, links = customers.c, customer_links.c
    survivors = select(links.survivor_id).where(links.tenant_id == tenant_id, links.customer_id.in_(customer_ids))
    concerned = select(columns.customer_id).where(
        columns.tenant_id == tenant_id,
        or_(columns.customer_id.in_(customer_ids), columns.customer_id.in_(survivors)),
    )
    # In the order of ids, as whoever else changes several customers takes them.
    locked = (await connection.execute(concerned.order_by(columns.customer_id).with_for_update())).scalars().all()
    await connection.execute(
        update(customers)
        .where(columns.tenant_id == tenant_id, columns.customer_id.in_(locked))
        .values(facts_version=columns.facts_version + 1)
    )


async def granted(connection: AsyncConnection, tenant_id: UUID, customer_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return all that customers were given, as it is kept, the oldest first."""
    columns = [column for column in action_grants.c if column.name != "tenant_id"]
    chosen = select(*columns).where(
        action_grants.c.tenant_id == tenant_id, action_grants.c.customer_id.in_(list(customer_ids))
    )
    found = await connection.execute(chosen.order_by(action_grants.c.grant_time))
    return [dict(row) for row in found.mappings()]


async def erase_grants(
    connection: AsyncConnection, tenant_id: UUID, customer_ids: Sequence[str], tickets: Sequence[UUID]
) -> None:
    """Forget what customers were given, and what was given on these tickets."""
    columns = action_grants.c
    await connection.execute(
        delete(action_grants).where(
            columns.tenant_id == tenant_id,
            or_(columns.customer_id.in_(list(customer_ids)), columns.ticket_id.in_(list(tickets))),
        )
    )


async def newest_tickets(connection: AsyncConnection, tenant_id: UUID, limit: int) -> list[UUID]:
    """Return the newest tickets that were given a recommendation (their ids rise with time)."""
    columns = advice.c
    wanted = (
        select(columns.ticket_id)
        .where(columns.tenant_id == tenant_id, columns.kind == _RECOMMENDATION)
        .order_by(columns.ticket_id.desc())
        .limit(limit)
    )
    return list((await connection.execute(wanted)).scalars())
