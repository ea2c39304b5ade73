"""What is needed to judge a token: keys, refused tenants, revoked API keys, and how old that knowledge is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

MAX_AGE = 30.0
"""Seconds after which what is known is too old to judge a token by."""


class Trust(Protocol):
    """What is needed to judge a token."""

    @property
    def keys(self) -> Mapping[str, EllipticCurvePublicKey]:
        """The public keys by key id."""

    @property
    def refused_tenants(self) -> frozenset[UUID]:
        """The tenants whose tokens are refused: suspended or deleted."""

    @property
    def revoked_keys(self) -> frozenset[str]:
        """The API keys whose tokens are refused."""

    @property
    def age(self) -> float:
        """Seconds since this was known to be true; infinite before the first time."""


@dataclass(slots=True)
class StaticTrust:
    """A trust that is said, not watched: for tests, and for the tenant service, which is the source itself."""

    keys: Mapping[str, EllipticCurvePublicKey] = field(default_factory=dict)
    refused_tenants: frozenset[UUID] = frozenset()
    revoked_keys: frozenset[str] = frozenset()
    age: float = 0.0
