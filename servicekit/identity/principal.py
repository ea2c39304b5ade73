"""Who calls: the principal of a verified token, and the caller of the call that is being served."""

import math
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

from servicekit.errors import CredentialInvalidError, TenantRequiredError
from servicekit.tracing import trace_metadata


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as a verified token says it.

    Attributes:
        subject: "key:<uuid>", "operator:<name>" or "service:<name>".
        tenant_id: the tenant that the token is bound to; None for work on the registry and between services.
        slug: the tenant's slug, empty without tenant.
        scopes: what the caller may do.
        key_id: the id of the API key that was exchanged, else empty.
        features: the tenant's features that are on.
        hosts: the tenant's own verified domains, on which the token is good beside the tenant's subdomain.
        origins: the web origins whose pages may use the token, "*" standing for any part of a host's name or port; None
            where pages of any origin may.
        browser: whether the token is of a browser key, which only pages may use.
        quota: how many requests a minute the tenant has; 0 where the token does not say.
        key_quota: how many of them the API key has; 0 where the key has no limit of its own.
        signed_by: the id of the key that signed the token.
        expires: when the token ends, in seconds since 1970.
        token: the token itself, for calls onward on the caller's behalf; never logged.
    """

    subject: str
    tenant_id: UUID | None = None
    slug: str = ""
    scopes: frozenset[str] = frozenset()
    key_id: str = ""
    features: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    origins: tuple[str, ...] | None = None
    browser: bool = False
    quota: int = 0
    key_quota: int = 0
    signed_by: str = ""
    expires: float = math.inf
    token: str = field(default="", repr=False)


_caller: ContextVar[Principal | None] = ContextVar("rapport_caller", default=None)
_origin: ContextVar[str | None] = ContextVar("rapport_origin", default=None)


def caller() -> Principal:
    """Return who makes the call that is being served.

    Raises:
        CredentialInvalidError: there is no call, or the method is public and no one has shown who they are.
    """
    principal = _caller.get()
    if principal is None:
        raise CredentialInvalidError("The credential is missing or not valid.")
    return principal


def caller_tenant() -> UUID:
    """Return the tenant of the call that is being served.

    Raises:
        CredentialInvalidError: there is no caller.
        TenantRequiredError: the caller's token is bound to no tenant.
    """
    tenant_id = caller().tenant_id
    if tenant_id is None:
        raise TenantRequiredError("The method works inside one tenant; the credential is bound to none.")
    return tenant_id


def calling_tenant() -> UUID | None:
    """Return the tenant of the call that is being served, None where there is none; for logs."""
    principal = _caller.get()
    return None if principal is None else principal.tenant_id


def set_caller(principal: Principal, origin: str | None = None) -> None:
    """Say who makes the call that this task serves, and in a page of which origin, if in one.

    The identity layer and background work with a token do so.
    """
    _caller.set(principal)
    _origin.set(origin)


def forwarded_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata for a call onward on the caller's own behalf: the token, and the origin that narrows it.

    Raises:
        CredentialInvalidError: there is no caller.
    """
    origin = _origin.get()
    page = () if origin is None else (("origin", origin),)
    return (("authorization", f"Bearer {caller().token}"), *page, *trace_metadata())
