"""Between the rows of the tables and the values of the subject."""

from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, Text, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from services.tenant.keys import ApiKey, Kind
from services.tenant.registry import Environment, State, Tenant
from services.tenant.tables import domains, tenants


def tenant_with_hosts(tenant_id: UUID) -> Select[Any]:
    """Return the query of a tenant with its own verified domains."""
    own = (
        select(domains.c.name)
        .where(domains.c.tenant_id == tenants.c.tenant_id, domains.c.verify_time.is_not(None))
        .order_by(domains.c.name)
    )
    hosts = func.array(own.scalar_subquery(), type_=ARRAY(Text)).label("hosts")
    return select(tenants, hosts).where(tenants.c.tenant_id == tenant_id)


def tenant_values(tenant: Tenant) -> dict[str, Any]:
    """Return a tenant as the columns of its row."""
    return {
        "tenant_id": tenant.tenant_id,
        "slug": tenant.slug,
        "name": tenant.name,
        "state": tenant.state.value,
        "environment": tenant.environment.value,
        "features": dict(tenant.features),
        "settings": dict(tenant.settings),
        "create_time": tenant.create_time,
        "update_time": tenant.update_time,
        "delete_time": tenant.delete_time,
        "version": tenant.version,
        "state_before": tenant.state_before.value if tenant.state_before else None,
        "purge_time": tenant.purge_time,
        "erase_time": tenant.erase_time,
    }


def tenant_of(row: RowMapping) -> Tenant:
    """Return the tenant of a row."""
    values = {name: row[name] for name in row if name != "request_id"}
    before = State(row["state_before"]) if row["state_before"] else None
    named = {"state": State(row["state"]), "state_before": before, "environment": Environment(row["environment"])}
    return Tenant(**values | named | {"hosts": tuple(row.get("hosts", ()))})


def key_values(key: ApiKey) -> dict[str, Any]:
    """Return a key as the columns of its row."""
    return {
        "tenant_id": key.tenant_id,
        "key_id": key.key_id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "key_hash": key.key_hash,
        "create_time": key.create_time,
        "expire_time": key.expire_time,
        "revoke_time": key.revoke_time,
        "kind": key.kind.value,
        "allowed_origins": list(key.allowed_origins),
        "requests_per_minute": key.requests_per_minute,
        "last_use_time": key.last_use_time,
        "rotated_from": key.rotated_from,
    }


def key_of(row: RowMapping) -> ApiKey:
    """Return the key of a row."""
    values = {name: row[name] for name in row if name != "request_id"}
    changed = {
        "scopes": tuple(row["scopes"]),
        "allowed_origins": tuple(row["allowed_origins"]),
        "kind": Kind(row["kind"]),
    }
    return ApiKey(**values | changed)
