"""The key pairs that sign tokens, and how their private halves rest in the database.

Published are the pair that signs, the one that will sign next, so that every verifier knows a key before the first
token comes that needs it, and those that have signed until the last token of them has ended. The private half is sealed
with a data key of its own, and that is wrapped by the key-encryption keys, which are not in the database.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from servicekit.envelope import SealBrokenError, Sealer, new_data_key
from servicekit.kek import KekProvider

OF_NO_TENANT = UUID(int=0)
"""Whose keys these are: the deployment's."""

_FIELD = "private_key"
_VERSION = 1

NOTICE = timedelta(seconds=60)
"""How long a key is published before it signs: whoever verifies refuses to with what it knew half a minute ago."""

Jwk = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair that signs tokens; `kid` names it in the tokens and in the key set."""

    kid: str
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def jwk(self) -> Jwk:
        """The public half as a JSON Web Key."""
        public = ECAlgorithm.to_jwk(self.private_key.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "alg": "ES256", "use": "sig"}


@dataclass(frozen=True, slots=True)
class SealedSigningKey:
    """A signing key as it is stored; `slot` is "current", "next" or "previous"."""

    kid: str
    slot: str
    jwk: Jwk
    wrapped_data_key: bytes = field(repr=False)
    sealed_private_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningKeyLife:
    """What anybody may know of a stored key: when it was made, began to sign and stopped to; None: not yet."""

    kid: str
    slot: str
    create_time: datetime
    activate_time: datetime | None
    retire_time: datetime | None


def is_due(current: SigningKeyLife, max_age: timedelta, now: datetime) -> bool:
    """Tell whether the current key has signed for long enough."""
    return now - (current.activate_time or current.create_time) >= max_age


def time_until_known(current: SigningKeyLife, coming: SigningKeyLife, now: datetime) -> timedelta:
    """Return how long the next key must wait until everybody knows it; zero when it may sign.

    Whoever knows a current key that was made no earlier knows the next one as well.
    """
    if coming.create_time <= current.create_time:
        return timedelta(0)
    return max(timedelta(0), coming.create_time + NOTICE - now)


def new_signing_key() -> SigningKey:
    """Return a new key pair on the curve P-256."""
    return SigningKey(secrets.token_hex(8), ec.generate_private_key(ec.SECP256R1()))


async def seal(key: SigningKey, slot: str, keks: KekProvider) -> SealedSigningKey:
    """Return a key pair as it may be stored.

    Raises:
        KekUnavailableError: the key-encryption keys are out of reach.
    """
    data_key = new_data_key()
    return SealedSigningKey(
        kid=key.kid,
        slot=slot,
        jwk=key.jwk,
        wrapped_data_key=await keks.wrap(data_key, OF_NO_TENANT),
        sealed_private_key=Sealer(data_key).seal(
            _private_bytes(key), tenant_id=OF_NO_TENANT, record=key.kid, field=_FIELD, version=_VERSION
        ),
    )


async def open_sealed(sealed: SealedSigningKey, keks: KekProvider) -> SigningKey:
    """Return the key pair that was stored.

    Raises:
        ValueError: the key-encryption keys do not open it, or it is not a key pair of ours.
        KekUnavailableError: they are out of reach.
    """
    try:
        private = Sealer(await keks.unwrap(sealed.wrapped_data_key, OF_NO_TENANT)).open(
            sealed.sealed_private_key, tenant_id=OF_NO_TENANT, record=sealed.kid, field=_FIELD, version=_VERSION
        )
    except SealBrokenError as error:
        raise ValueError(f"KEK_FILE does not open the stored signing key {sealed.kid}; was it replaced?") from error
    key = serialization.load_der_private_key(private, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"the signing key {sealed.kid} is not one of an elliptic curve")  # noqa: TRY004 - stored data
    return SigningKey(sealed.kid, key)


def key_set(jwks: Sequence[Jwk]) -> str:
    """Return a JSON Web Key Set (RFC 7517) as text; the same keys give the same text."""
    return json.dumps({"keys": sorted(jwks, key=lambda jwk: str(jwk["kid"]))}, sort_keys=True, separators=(",", ":"))


def _private_bytes(key: SigningKey) -> bytes:
    """Return the private half as bytes (PKCS 8)."""
    return key.private_key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
