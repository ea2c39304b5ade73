"""Tokens for tests: an issuer with its own key, and the trust that believes it."""

import time
from collections.abc import Iterable
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec

from servicekit.identity import StaticTrust, sign_token


class Issuer:
    """Signs tokens as the tenant service would; `trust` is what a server under test is given."""

    def __init__(self, kid: str = "test-key") -> None:
        self.kid = kid
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.trust = StaticTrust(keys={kid: self.key.public_key()})

    def token(
        self,
        *scopes: str,
        tenant_id: UUID | None = None,
        subject: str = "key:01890000-0000-7000-8000-000000000000",
        slug: str = "",
        key_id: str = "",
        features: Iterable[str] = (),
        lifetime: float = 120,
        **more: object,
    ) -> str:
        """Return a signed token with `more` claims; a negative lifetime makes one that has ended."""
        now = int(time.time())
        claims: dict[str, object] = {"sub": subject, "scope": " ".join(scopes), "iat": now, "exp": now + lifetime}
        if tenant_id is not None:
            claims["tid"] = str(tenant_id)
        claims |= {"slug": slug, "key": key_id, "features": list(features), "jti": str(now)} | more
        return sign_token(self.key, self.kid, claims)

    def metadata(self, *scopes: str, tenant_id: UUID | None = None, lifetime: float = 120) -> tuple[tuple[str, str]]:
        """Return the metadata of a call with such a token."""
        return (("authorization", f"Bearer {self.token(*scopes, tenant_id=tenant_id, lifetime=lifetime)}"),)
