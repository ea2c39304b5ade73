"""Between the rows of the tables and the values of the subject."""

from typing import Any

from sqlalchemy import RowMapping

from services.tenant.keys import ApiKey
from services.tenant.registry import Environment, State, Tenant


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
    }


def tenant_of(row: RowMapping) -> Tenant:
    """Return the tenant of a row."""
    values = {name: row[name] for name in row if name != "request_id"}
    return Tenant(**values | {"state": State(row["state"]), "environment": Environment(row["environment"])})


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
    }


def key_of(row: RowMapping) -> ApiKey:
    """Return the key of a row."""
    values = {name: row[name] for name in row if name != "request_id"}
    return ApiKey(**values | {"scopes": tuple(row["scopes"])})
