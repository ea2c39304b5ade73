"""What a helpdesk provider must be able to do: the interface that each provider module fills.

Everything here is a pure function of what came in: no clock, no database, no network.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from services.crm.events import TicketEvent

MAX_BODY_BYTES = 1024 * 1024
"""The largest webhook body that is looked at, in bytes."""


class NotUnderstoodError(Exception):
    """An authentic delivery that the provider module cannot turn into events; `reason` is a fixed word for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the provider made it.

    `url` is the public address as the provider called it, made of our configured base and the received path, never of
    a `Host` header. `headers` holds lower-case names with their values in the order received, repeated ones included.
    """

    method: str
    url: str
    headers: Sequence[tuple[str, str]]
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """Return the value of the header that came exactly once; None when it is missing or came twice."""
        found = [value for key, value in self.headers if key == name]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """One version of a connection's webhook secret and the time in which it is accepted (`not_after` is excluded)."""

    version: int
    text: str = field(repr=False)
    not_before: datetime
    not_after: datetime | None = None

    def __post_init__(self) -> None:
        if not self.text or self.version < 1:
            raise ValueError("a webhook secret has a text and a version from 1")

    def active(self, now: datetime) -> bool:
        """Return whether the secret is accepted at `now`."""
        return self.not_before <= now and (self.not_after is None or now < self.not_after)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request proved itself, and by what.

    `reason` is a fixed word: "verified", or why not. `secret_version` is the version that verified it, 0 when none
    did. `signed` says in words which bytes the proof covers.
    """

    reason: str
    secret_version: int = 0
    signed: str = ""

    @property
    def accepted(self) -> bool:
        """Return whether the request proved itself: only a secret can have made it so."""
        return self.secret_version > 0

    @classmethod
    def verified_by(cls, secret: WebhookSecret, *, signed: str) -> "Verdict":
        """Return the verdict of a request that `secret` proves; there is no way to accept without one."""
        return cls("verified", secret.version, signed)

    @classmethod
    def refused(cls, reason: str) -> "Verdict":
        """Return the verdict of a request that did not prove itself."""
        return cls(reason)


@dataclass(frozen=True, slots=True)
class Identity:
    """What an authentic request says about itself.

    `accounts` are all the ids by which it names the provider's account; `delivery` identifies it for good among
    everything that comes by the same connection; `conversation` is the provider's ticket that it is about, None when it
    is about none (then nothing needs to be kept in order).
    """

    accounts: tuple[str, ...]
    delivery: tuple[str, ...]
    conversation: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider wants to hear (the status is always 200)."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Setting:
    """A configured, non-secret value of a connection: what it must look like, in a pattern and in words."""

    pattern: re.Pattern[str]
    description: str


class Provider(Protocol):
    """One helpdesk."""

    @property
    def name(self) -> str:
        """The provider's id in addresses, in the API and on the command line."""

    @property
    def settings(self) -> Mapping[str, Setting]:
        """What a connection may and must configure."""

    @property
    def credentials(self) -> frozenset[str]:
        """The names of the secrets that a connection may hold beside `webhook_secret`, which it always holds."""

    @property
    def public_secrets(self) -> frozenset[str]:
        """Secrets that the provider has published: anybody can sign with them, so none is ever taken."""

    @property
    def kept_headers(self) -> frozenset[str]:
        """The headers that are stored with a delivery (lower case); all others are dropped, live credentials too."""

    @property
    def retry_horizon(self) -> timedelta:
        """How long the provider goes on repeating a delivery; its deduplication key lives at least as long."""

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], now: datetime) -> Verdict:
        """Judge a request by the secrets that are active now. Never raises, whatever the request holds."""

    def handshake(self, request: Request) -> Answer | None:
        """Return the answer to a request that comes unsigned by right and makes no work; None for all others."""

    def identify(self, request: Request) -> Identity:
        """Return what an authentic request says about itself. Never raises: an unreadable body has an identity too."""

    def acknowledge(self, request: Request) -> Answer:
        """Return what the provider wants to hear once the delivery is stored."""

    def events(self, request: Request, received: datetime) -> Sequence[TicketEvent]:
        """Turn an authentic request into events, oldest first; empty when there is nothing to do.

        Raises:
            NotUnderstoodError: the body is not what the provider documents.
        """


def judge(provider: Provider, request: Request, secrets: Iterable[WebhookSecret], now: datetime) -> Verdict:
    """Judge a request by those of `secrets` that are active at `now`; without any, nothing is accepted.

    This is the only way to a verdict: whatever a provider module answers, it counts only with an active secret.
    """
    active = [secret for secret in secrets if secret.active(now)]
    if not active:
        return Verdict.refused("no_active_secret")
    verdict = provider.authenticate(request, active, now)
    if verdict.accepted and all(secret.version != verdict.secret_version for secret in active):
        return Verdict.refused("secret_not_active")
    return verdict


def account_matches(expected: str | None, identity: Identity) -> bool:
    """Return whether every account id that a request names is the connection's; an unknown one matches all."""
    return expected is None or all(account == expected for account in identity.accounts)
