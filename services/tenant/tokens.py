"""Signed tokens: their claims and their life.

Claims are described in `protos/rapport/tenant/v1/token_service.proto`.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from servicekit.identity import sign_token
from servicekit.quotas import key_claims, tenant_claims
from services.tenant.configuration import cors_origins, features_on, requests_per_minute
from services.tenant.keys import ApiKey, Kind
from services.tenant.registry import Tenant
from services.tenant.signing import SigningKey

LIFETIME = timedelta(seconds=120)
"""How long a token lives at most."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token, its end, and its scopes, separated by spaces."""

    token: str = field(repr=False)
    expire_time: datetime
    tenant_id: UUID | None
    scope: str


def issue(
    signing_key: SigningKey,
    *,
    subject: str,
    scopes: Collection[str],
    tenant: Tenant | None,
    now: datetime,
    key: ApiKey | None = None,
) -> AccessToken:
    """Return a token for a principal; one that is made of an API key ends with the key at the latest."""
    # The claim counts whole seconds: the answer says the same end as the token does.
    end = int((now + LIFETIME).timestamp())
    if key is not None and key.expire_time is not None:
        end = min(end, int(key.expire_time.timestamp()))
    claims: dict[str, Any] = {
        "sub": subject,
        "scope": " ".join(sorted(scopes)),
        "iat": int(now.timestamp()),
        "exp": end,
        "jti": secrets.token_urlsafe(12),
    }
    if tenant is not None:
        claims |= _of_tenant(tenant)
    if key is not None:
        claims |= _of_key(key)
    return AccessToken(
        token=sign_token(signing_key.private_key, signing_key.kid, claims),
        expire_time=datetime.fromtimestamp(end, tz=now.tzinfo),
        tenant_id=tenant.tenant_id if tenant else None,
        scope=claims["scope"],
    )


def _of_tenant(tenant: Tenant) -> dict[str, Any]:
    claims: dict[str, Any] = {
        "tid": str(tenant.tenant_id),
        "slug": tenant.slug,
        "features": list(features_on(tenant.features)),
    }
    if tenant.hosts:
        claims["hosts"] = list(tenant.hosts)
    if origins := cors_origins(tenant.settings):
        claims["origins"] = list(origins)
    if quota := requests_per_minute(tenant.settings):
        claims |= tenant_claims(quota)
    return claims


def _of_key(key: ApiKey) -> dict[str, Any]:
    claims: dict[str, Any] = {"key": str(key.key_id)}
    if key.kind is Kind.BROWSER:
        claims |= {"browser": True, "origins": list(key.allowed_origins)}
    if key.requests_per_minute:
        claims |= key_claims(key.requests_per_minute)
    return claims
