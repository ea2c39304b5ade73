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
from services.tenant.configuration import features_on
from services.tenant.registry import Tenant
from services.tenant.signing import SigningKey

LIFETIME = timedelta(seconds=120)
"""How long a token lives at most."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token and its end."""

    token: str = field(repr=False)
    expire_time: datetime
    tenant_id: UUID | None


def issue(
    signing_key: SigningKey,
    *,
    subject: str,
    scopes: Collection[str],
    tenant: Tenant | None,
    now: datetime,
    key_id: UUID | None = None,
    no_later_than: datetime | None = None,
) -> AccessToken:
    """Return a token for a principal; it ends with the credential it was made of (`no_later_than`) at the latest."""
    # The claim counts whole seconds: the answer says the same end as the token does.
    end = int((now + LIFETIME).timestamp())
    if no_later_than is not None:
        end = min(end, int(no_later_than.timestamp()))
    claims: dict[str, Any] = {
        "sub": subject,
        "scope": " ".join(sorted(scopes)),
        "iat": int(now.timestamp()),
        "exp": end,
        "jti": secrets.token_urlsafe(12),
    }
    if tenant is not None:
        claims |= {"tid": str(tenant.tenant_id), "slug": tenant.slug, "features": list(features_on(tenant.features))}
    if key_id is not None:
        claims["key"] = str(key_id)
    return AccessToken(
        token=sign_token(signing_key.private_key, signing_key.kid, claims),
        expire_time=datetime.fromtimestamp(end, tz=now.tzinfo),
        tenant_id=tenant.tenant_id if tenant else None,
    )
