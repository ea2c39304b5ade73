"""The one decision about a request: its tenant follows from its credential, and its host only narrows that.

There is no default tenant. Who shows no credential, or one that opens nothing, learns only that; nobody learns whether
a tenant exists, is suspended or is deleted.
"""

from enum import Enum, auto

from servicekit.errors import CredentialInvalidError, HostMismatchError, PermissionDeniedError, UnauthenticatedError


class Credential(Enum):
    """What a request brings that may name a tenant."""

    KEY = auto()
    """An API key or a client's secret, which is exchanged for a token."""
    TOKEN = auto()
    """A signed token."""
    WEBHOOK_TOKEN = auto()
    """The token in a webhook's address."""
    WEBHOOK_ACCOUNT = auto()
    """The account that a webhook's payload names, where the secret of a provider's app has verified that payload."""
    HOST_ONLY = auto()
    """Nothing but a host that a tenant has."""
    NOTHING = auto()
    """Nothing at all."""


class Standing(Enum):
    """What the credential's tenant is; unknown as well where the credential itself is unknown, revoked or expired."""

    ACTIVE = auto()
    SUSPENDED = auto()
    DELETED = auto()
    UNKNOWN = auto()


class Host(Enum):
    """What the request's host says of the tenant."""

    AGREES = auto()
    """It is the tenant's own, or it names no tenant at all: the base domain, an address, a call inside the suite."""
    DISAGREES = auto()
    """It names another tenant, or one that is none."""


class Verdict(Enum):
    """What becomes of the request."""

    ALLOWED = auto()
    UNAUTHENTICATED = auto()
    """401, the same for all."""
    FORBIDDEN = auto()
    """403: the credential is good, and not on this host."""


_WEBHOOKS = frozenset({Credential.WEBHOOK_TOKEN, Credential.WEBHOOK_ACCOUNT})
_TENANTLESS = frozenset({Credential.HOST_ONLY, Credential.NOTHING})


def decide(credential: Credential, standing: Standing, host: Host) -> Verdict:
    """Return what becomes of a request.

    A host is no credential. A webhook on another shop's host is answered like one with an unknown token, because its
    sender cannot be told anything: it may be anybody who guesses.
    """
    if credential in _TENANTLESS or standing is not Standing.ACTIVE:
        return Verdict.UNAUTHENTICATED
    if host is Host.DISAGREES:
        return Verdict.UNAUTHENTICATED if credential in _WEBHOOKS else Verdict.FORBIDDEN
    return Verdict.ALLOWED


def refusal(verdict: Verdict) -> UnauthenticatedError | PermissionDeniedError | None:
    """Return the error that a verdict is answered with; None when the request is allowed."""
    if verdict is Verdict.UNAUTHENTICATED:
        return CredentialInvalidError("The credential is missing or not valid.")
    if verdict is Verdict.FORBIDDEN:
        return HostMismatchError("The credential is not good on this host.")
    return None
