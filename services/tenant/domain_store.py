"""The SQL of the own domains."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping, Select, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.database import Database
from services.tenant.domains import AWAITED, Domain
from services.tenant.errors import DomainLimitReachedError, DomainNotFoundError, DomainTakenError, TenantNotFoundError
from services.tenant.tables import domains, tenants


class DomainStore:
    """Reads and writes domains; a tenant has at most `limit` that are verified or awaited."""

    def __init__(self, database: Database, *, limit: int = 10) -> None:
        self._database = database
        self._limit = limit

    async def create_domain(self, domain: Domain) -> Domain:
        """Store a domain and return it, or the one that the tenant has by this name. Overdue ones are forgotten.

        Raises:
            DomainLimitReachedError: the tenant has as many domains as it can have.
            TenantNotFoundError: there is no such tenant any more.
        """
        tenant_id, now = domain.tenant_id, domain.create_time
        async with self._database.tenant(tenant_id) as connection:
            await _lock(connection, tenant_id)
            await connection.execute(
                delete(domains).where(
                    domains.c.tenant_id == tenant_id,
                    domains.c.verify_time.is_(None),
                    domains.c.create_time <= now - AWAITED,
                )
            )
            row = (await connection.execute(_one(tenant_id, domain.name))).mappings().one_or_none()
            if row is not None:
                return _domain(row)
            counting = select(func.count()).select_from(domains).where(domains.c.tenant_id == tenant_id)
            if (await connection.execute(counting)).scalar_one() >= self._limit:
                raise DomainLimitReachedError(self._limit)
            await connection.execute(domains.insert().values(**_values(domain)))
        return domain

    async def get_domain(self, tenant_id: UUID, name: str, now: datetime) -> Domain:
        """Return a domain of the tenant that is verified or awaited.

        Raises:
            DomainNotFoundError: the tenant has none by this name.
        """
        async with self._database.tenant(tenant_id) as connection:
            row = (await connection.execute(_one(tenant_id, name))).mappings().one_or_none()
        domain = _domain(row) if row else None
        if domain is None or not domain.is_live(now):
            raise DomainNotFoundError
        return domain

    async def list_domains(self, tenant_id: UUID, after: str, at_most: int, now: datetime) -> Sequence[Domain]:
        """Return domains of the tenant in the order of their names, from the first one behind `after`."""
        live = or_(domains.c.verify_time.is_not(None), domains.c.create_time > now - AWAITED)
        statement = (
            select(domains)
            .where(domains.c.tenant_id == tenant_id, domains.c.name > after, live)
            .order_by(domains.c.name)
            .limit(at_most)
        )
        async with self._database.tenant(tenant_id) as connection:
            return [_domain(row) for row in (await connection.execute(statement)).mappings()]

    async def set_verified(self, domain: Domain) -> Domain:
        """Make a domain the tenant's own, if it still awaits this very proof, and return it.

        Raises:
            DomainNotFoundError: it was removed or added anew meanwhile.
            DomainTakenError: it is another tenant's own.
        """
        statement = (
            update(domains)
            .where(
                domains.c.tenant_id == domain.tenant_id,
                domains.c.name == domain.name,
                domains.c.proof_text == domain.proof_text,
            )
            .values(verify_time=func.coalesce(domains.c.verify_time, domain.verify_time))
            .returning(domains)
        )
        try:
            async with self._database.tenant(domain.tenant_id) as connection:
                row = (await connection.execute(statement)).mappings().one_or_none()
        except IntegrityError as error:
            raise DomainTakenError from error
        if row is None:
            raise DomainNotFoundError
        return _domain(row)

    async def delete_domain(self, tenant_id: UUID, name: str) -> None:
        """Remove a domain.

        Raises:
            DomainNotFoundError: the tenant has none by this name.
        """
        removing = delete(domains).where(domains.c.tenant_id == tenant_id, domains.c.name == name)
        async with self._database.tenant(tenant_id) as connection:
            removed = await connection.execute(removing.returning(domains.c.name))
            if removed.one_or_none() is None:
                raise DomainNotFoundError


async def _lock(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Let nobody else add domains to this tenant before the transaction ends."""
    locking = select(tenants.c.tenant_id).where(tenants.c.tenant_id == tenant_id).with_for_update(key_share=True)
    if (await connection.execute(locking)).one_or_none() is None:
        raise TenantNotFoundError


def _one(tenant_id: UUID, name: str) -> Select[tuple[object, ...]]:
    return select(domains).where(domains.c.tenant_id == tenant_id, domains.c.name == name)


def _values(domain: Domain) -> dict[str, object]:
    return {column.name: getattr(domain, column.name) for column in domains.columns}


def _domain(row: RowMapping) -> Domain:
    return Domain(**{column.name: row[column.name] for column in domains.columns})
