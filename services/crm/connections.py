"""Connections to helpdesks: what may be configured, their secret addresses, and the rotation of webhook secrets."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from servicekit.errors import FieldViolation
from servicekit.etag import etag
from services.crm.allowed import MOST_NETWORKS, networks
from services.crm.allowed import SETTING as ALLOWED_ADDRESSES
from services.crm.errors import ConnectionInvalidError, SecretOverlapFullError, SecretPublicError
from services.crm.providers.provider import Proof, Provider

WEBHOOK_SECRET = "webhook_secret"  # noqa: S105 - the name of the secret that verifies webhooks, not a secret
SHORTEST_SECRET = 8
"""The fewest characters of any secret."""

SHORTEST_SHARED_TOKEN = 16
"""The fewest characters of a webhook secret that is sent along as it is, and so may be guessed by anybody."""

MOST_ACTIVE_SECRETS = 4
"""How many webhook secrets of one connection may be accepted at once, the newest included."""

_SHOWN = 4
_SHORTEST_SHOWN = 16
_TOKEN_BYTES = 24


@dataclass(frozen=True, slots=True)
class SecretState:
    """What may be known about a stored secret; `not_after` is None for the newest version."""

    name: str
    version: int
    last_four: str
    created: datetime
    not_after: datetime | None


@dataclass(frozen=True, slots=True)
class Health:
    """How calls of a connection's provider went lately; `failing_since` is None while they work or none was made."""

    success: datetime | None = None
    failure: datetime | None = None
    failing_since: datetime | None = None
    reason: str = ""
    detail: str = ""
    access_expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection of a tenant to one account of a provider; `config` holds nothing secret.

    Until `predecessor_until` it takes what the predecessor's signature schemes prove; None is never.
    """

    id: UUID
    provider: str
    display_name: str
    config: Mapping[str, str]
    secrets: Sequence[SecretState]
    created: datetime
    updated: datetime
    predecessor_until: datetime | None = None
    health: Health = Health()

    @property
    def etag(self) -> str:
        """What changes with every change that a person makes."""
        return etag(self.id, self.updated.isoformat())


def new_token() -> str:
    """Return a token for a connection's address: 192 random bits as 32 characters that are safe in a path."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def token_hash(token: str) -> bytes:
    """Return the 32 bytes under which an address is found; the token itself is stored nowhere."""
    return sha256(b"rapport/crm/webhook-address\n" + token.encode("utf-8", "surrogatepass")).digest()


def webhook_url(public_url: str, provider: str, token: str) -> str:
    """Return the address that the provider shall call."""
    return f"{public_url.rstrip('/')}/webhooks/{provider}/{token}"


def last_four(secret: str) -> str:
    """Return the end of a secret by which a person recognises it, empty where that would tell too much of it."""
    return secret[-_SHOWN:] if len(secret) >= _SHORTEST_SHOWN else ""


def check(
    provider: Provider, config: Mapping[str, str], given: Mapping[str, str], *, stored: Collection[str] = ()
) -> dict[str, str]:
    """Return the configuration that is to be stored: without the values that were left empty.

    Receiving needs the webhook secret, and the account where webhooks prove nothing but a token; what serves calls to
    the provider may come later. `stored` names the secrets that the connection has already.

    Raises:
        ConnectionInvalidError: a name is unknown, the webhook secret or the account is missing, or a value has a wrong
            form.
        SecretPublicError: a secret is published in the provider's documentation.
    """
    kept = {name: value for name, value in config.items() if value}
    violations = [
        FieldViolation(f"config.{name}", f"{provider.name} has no such setting.")
        for name in sorted(kept.keys() - provider.settings.keys() - {ALLOWED_ADDRESSES})
    ]
    for name, setting in provider.settings.items():
        value = kept.get(name)
        if value is not None and not setting.pattern.fullmatch(value):
            violations.append(FieldViolation(f"config.{name}", f"Must be {setting.description}."))
    violations += _allow_list_violations(kept)
    known = provider.credentials | ({WEBHOOK_SECRET} if provider.proof is not Proof.ADDRESS else set())
    violations += [
        FieldViolation(f"secrets.{name}", f"{provider.name} has no such secret.")
        for name in sorted(given.keys() - known)
    ]
    # A token says nothing about what comes with it, so that the account that a webhook names has to be compared.
    account = provider.account_setting
    if provider.proof is not Proof.SIGNATURE and account and account not in kept:
        violations.append(FieldViolation(f"config.{account}", "Is required: webhooks of other accounts are refused."))
    # Where the address proves webhooks, or the secret of an app, a connection needs none of its own.
    if WEBHOOK_SECRET not in {*given, *stored} and provider.proof is not Proof.ADDRESS and not provider.app_level:
        violations.append(FieldViolation(f"secrets.{WEBHOOK_SECRET}", "Is required: it verifies the webhooks."))
    violations += [
        FieldViolation(f"secrets.{name}", flaw)
        for name, secret in sorted(given.items())
        if name in known and (flaw := _flaw(provider, name, secret))
    ]
    if violations:
        raise ConnectionInvalidError("The connection does not fit its provider.", violations=violations)
    for secret in given.values():
        check_not_public(provider, secret)
    return kept


def _allow_list_violations(config: Mapping[str, str]) -> list[FieldViolation]:
    try:
        networks(config.get(ALLOWED_ADDRESSES, "0.0.0.0/0"))
    except ValueError:
        words = f"Must be up to {MOST_NETWORKS} addresses or networks, as 203.0.113.7,2001:db8::/32."
        return [FieldViolation(f"config.{ALLOWED_ADDRESSES}", words)]
    return []


def shortest(provider: Provider, name: str) -> int:
    """Return the fewest characters that a secret of this name may have."""
    shared = name == WEBHOOK_SECRET and provider.proof is Proof.SHARED_TOKEN
    return SHORTEST_SHARED_TOKEN if shared else SHORTEST_SECRET


def _flaw(provider: Provider, name: str, secret: str) -> str:
    """Return what is wrong with a secret in words, "" if nothing."""
    if len(secret) < shortest(provider, name):
        return f"Must have at least {shortest(provider, name)} characters."
    form = provider.secret_form if name == WEBHOOK_SECRET else None
    return f"Must be {form.description}." if form and not form.pattern.fullmatch(secret) else ""


def receives(provider: Provider, secrets: Collection[str]) -> bool:
    """Return whether a connection with secrets of these names can take webhooks at an address of its own."""
    return provider.proof is Proof.ADDRESS or WEBHOOK_SECRET in secrets


def check_new_secret(provider: Provider, secret: str) -> None:
    """Check a webhook secret that shall replace another.

    Raises:
        ConnectionInvalidError: it is too short or of a wrong form, or the provider's webhooks are proved by their
            address alone.
        SecretPublicError: it is published.
    """
    if provider.proof is Proof.ADDRESS:
        violation = FieldViolation(WEBHOOK_SECRET, f"{provider.name} has none: rotate the address.")
        raise ConnectionInvalidError("The secret does not fit its provider.", violations=[violation])
    if flaw := _flaw(provider, WEBHOOK_SECRET, secret):
        violation = FieldViolation(WEBHOOK_SECRET, flaw)
        raise ConnectionInvalidError("The secret does not fit its provider.", violations=[violation])
    check_not_public(provider, secret)


def check_not_public(provider: Provider, secret: str) -> None:
    """Refuse a secret that anybody can look up.

    Raises:
        SecretPublicError: it is published in the provider's documentation.
    """
    if secret.strip() in provider.public_secrets:
        violation = FieldViolation(f"secrets.{WEBHOOK_SECRET}", "Is published in the provider's documentation.")
        raise SecretPublicError("Anybody can sign with this secret.", violations=[violation])


def end_of_overlap(now: datetime, overlap: timedelta, active: Sequence[SecretState]) -> datetime:
    """Return when the secrets that are `active` now shall end once a new one is stored.

    Raises:
        SecretOverlapFullError: with an overlap there would be too many active secrets.
    """
    if overlap and len(active) >= MOST_ACTIVE_SECRETS:
        raise SecretOverlapFullError(
            f"At most {MOST_ACTIVE_SECRETS} webhook secrets may be active at once.",
            metadata={"limit": str(MOST_ACTIVE_SECRETS)},
        )
    return now + overlap
