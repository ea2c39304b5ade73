"""Signed tokens: how they are made and judged.

A token is a JWT (ES256, issuer and audience "rapport"); its claims are described in
`protos/rapport/tenant/v1/token_service.proto`.
"""

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

from servicekit.errors import CredentialInvalidError, TrustStaleError
from servicekit.identity.decision import Credential, Host, Standing, Verdict, decide
from servicekit.identity.principal import Principal
from servicekit.identity.trust import MAX_AGE, Trust

ISSUER = "rapport"
AUDIENCE = "rapport"
_ALGORITHM = "ES256"
_CACHED_TOKENS = 20_000
_REQUIRED_CLAIMS = ["iss", "aud", "sub", "iat", "exp"]


def sign_token(private_key: EllipticCurvePrivateKey, kid: str, claims: Mapping[str, Any]) -> str:
    """Return a signed token; issuer and audience are added, and the claims must hold sub, iat and exp."""
    return jwt.encode(
        {"iss": ISSUER, "aud": AUDIENCE, **claims}, private_key, algorithm=_ALGORITHM, headers={"kid": kid}
    )


def keys_of(jwks_json: str) -> dict[str, EllipticCurvePublicKey]:
    """Return the ES256 keys of a JSON Web Key Set by their ids; other kinds of keys are left out.

    Raises:
        jwt.PyJWTError: the text is not a key set.
    """
    keys: dict[str, EllipticCurvePublicKey] = {}
    for entry in jwt.PyJWKSet.from_json(jwks_json).keys:
        if entry.key_id and isinstance(entry.key, EllipticCurvePublicKey):
            keys[entry.key_id] = entry.key
    return keys


class TokenVerifier:
    """Judges tokens; remembers good ones until they end, and asks the trust anew each time."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._known: dict[str, Principal] = {}

    def verify(self, token: str) -> Principal:
        """Return who the token stands for.

        Raises:
            TrustStaleError: what is known of keys and revocations is older than 30 seconds.
            CredentialInvalidError: the token is not good, or its tenant or key is refused.
        """
        # Old keys are no reason to call an unknown token a bad one.
        if self._trust.age > MAX_AGE:
            raise _stale()
        principal = self._known.get(token) or self._read(token)
        objection = _invalid() if principal.expires <= time.time() else self.objection(principal)
        if objection is not None:
            self._known.pop(token, None)
            raise objection
        return principal

    def objection(self, principal: Principal) -> TrustStaleError | CredentialInvalidError | None:
        """Return what the trust holds against somebody whose token was good once; None when nothing."""
        if self._trust.age > MAX_AGE:
            return _stale()
        # Whether its host agrees is judged for each request; a token that is good is good somewhere.
        verdict = decide(Credential.TOKEN, self._standing(principal), Host.AGREES)
        if verdict is Verdict.ALLOWED:
            return None
        return _invalid().naming(principal.tenant_id, principal.subject)

    def _standing(self, principal: Principal) -> Standing:
        trust = self._trust
        if principal.signed_by not in trust.keys or principal.key_id in trust.revoked_keys:
            return Standing.UNKNOWN
        # The trust set does not tell the suspended from the deleted: both are refused.
        return Standing.SUSPENDED if principal.tenant_id in trust.refused_tenants else Standing.ACTIVE

    def still_good(self, principal: Principal) -> bool:
        """Tell whether a call that lasts may go on; cheap enough to be asked several times a second.

        Work of one tenant lasts no longer than its token: whoever opened it comes again with a new one. Tokens without
        a tenant are of operators and of the suite's own services, which follow each other for as long as they run.
        """
        ended = principal.tenant_id is not None and principal.expires <= time.time()
        return not ended and self.objection(principal) is None

    def _read(self, token: str) -> Principal:
        """Check signature and claims, and remember the outcome."""
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
            key = self._trust.keys.get(kid)
            if key is None:
                raise _invalid()
            claims = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                # Clocks of two machines differ a little: an `iat` slightly ahead is no reason to refuse.
                options={"require": _REQUIRED_CLAIMS, "verify_iat": False},
            )
            principal = principal_of(claims, token, kid)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise _invalid() from error
        if len(self._known) >= _CACHED_TOKENS:
            self._forget()
        self._known[token] = principal
        return principal

    def _forget(self) -> None:
        """Drop the tokens that have ended; if those are few, the older half as well."""
        now = time.time()
        alive = {token: principal for token, principal in self._known.items() if principal.expires > now}
        if len(alive) > _CACHED_TOKENS // 2:
            alive = dict(list(alive.items())[_CACHED_TOKENS // 2 :])
        self._known = alive


def principal_of(claims: Mapping[str, Any], token: str, kid: str) -> Principal:
    """Return the principal that verified claims describe.

    Raises:
        ValueError, TypeError, AttributeError: a claim has not the form it must have.
    """
    tenant = claims.get("tid")
    features = claims.get("features", ())
    origins = claims.get("origins")
    return Principal(
        subject=str(claims["sub"]),
        tenant_id=UUID(tenant) if tenant else None,
        slug=str(claims.get("slug", "")),
        scopes=frozenset(claims.get("scope", "").split()),
        key_id=str(claims.get("key", "")),
        features=frozenset(features.split() if isinstance(features, str) else features),
        hosts=frozenset(_texts(claims.get("hosts", ()))),
        origins=None if origins is None else _texts(origins),
        # Whatever else stands there must not open what a browser key keeps closed.
        browser=claims.get("browser", False) is not False,
        quota=int(claims.get("quota", 0)),
        key_quota=int(claims.get("key_quota", 0)),
        signed_by=kid,
        expires=float(claims["exp"]),
        token=token,
    )


def _texts(claim: Any) -> tuple[str, ...]:
    """Return a claim that is a list of texts; a single text is none, or its letters would be taken for entries."""
    if not isinstance(claim, list | tuple) or not all(isinstance(entry, str) for entry in claim):
        raise TypeError("a claim is not a list of texts")
    return tuple(claim)


def _invalid() -> CredentialInvalidError:
    return CredentialInvalidError("The credential is missing or not valid.")


def _stale() -> TrustStaleError:
    return TrustStaleError("The keys to judge the credential by are out of date; try again.", retry_after=2)
