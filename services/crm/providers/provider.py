"""What a helpdesk provider must be able to do: the interface that each provider module fills.

Everything here is a pure function of what came in: no clock, no database, no network. A provider that has an API says
what to call by the steps of `api.py`, which another part carries out.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from services.crm.events import Event
from services.crm.providers.api import Api

MAX_BODY_BYTES = 1024 * 1024
"""The largest webhook body that is looked at, in bytes."""

STALE = "timestamp_out_of_tolerance"
"""The reason of a verdict on a request whose signature is right and whose signed time is too far from ours."""

MOST_PARTS = 100
"""How many deliveries one request may hold."""


_Read = TypeVar("_Read")


class NotUnderstoodError(Exception):
    """An authentic delivery that the provider module cannot turn into events; `reason` is a fixed word for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Proof(StrEnum):
    """By what a provider's requests prove themselves."""

    SIGNATURE = "signature"
    """The vendor signs with the connection's `webhook_secret`, or with that of an app."""

    SHARED_TOKEN = "shared_token"  # noqa: S105 - the name of a mode
    """The vendor signs nothing, but sends the `webhook_secret` itself in a header or as a Basic password."""

    ADDRESS = "address"
    """The vendor signs nothing and sends no header of ours: the token in the address is all the proof there is."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the provider made it.

    `url` is the public address as the provider called it, made of our configured base and the received path, never of
    a `Host` header. `headers` holds lower-case names with their values in the order received, repeated ones included.
    Its address and headers hold secrets, and its body is private: none of them stands in what it looks like in a log.
    """

    method: str
    url: str = field(repr=False)
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    _known: dict[Callable[[bytes], Any], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def read(self, reader: Callable[[bytes], _Read]) -> _Read:
        """Return what `reader`, which must be a pure function, makes of the body; it is asked once, however often."""
        if reader not in self._known:
            self._known[reader] = reader(self.body)
        found: _Read = self._known[reader]
        return found

    def header(self, name: str) -> str | None:
        """Return the value of the header that came exactly once; None when it is missing or came twice."""
        found = [value for key, value in self.headers if key == name]
        return found[0] if len(found) == 1 else None

    @property
    def token(self) -> str:
        """The last part of the address' path, which is the connection's secret token."""
        return self.url.partition("?")[0].rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """One version of a connection's webhook secret and the time in which it is accepted (`not_after` is excluded).

    For a provider whose proof is the address, the versions are those of the address and the text is its token.
    """

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
    did. `signed` says in words which bytes the proof covers, `rule` which of the provider's rules decided.
    """

    reason: str
    secret_version: int = 0
    signed: str = ""
    rule: str = ""

    @property
    def accepted(self) -> bool:
        """Return whether the request proved itself: only a secret can have made it so."""
        return self.secret_version > 0

    @classmethod
    def verified_by(cls, secret: WebhookSecret, *, signed: str, rule: str = "") -> "Verdict":
        """Return the verdict of a request that `secret` proves; there is no way to accept without one."""
        return cls("verified", secret.version, signed, rule)

    @classmethod
    def refused(cls, reason: str, *, signed: str = "", rule: str = "") -> "Verdict":
        """Return the verdict of a request that did not prove itself."""
        return cls(reason, 0, signed, rule)


@dataclass(frozen=True, slots=True)
class Part:
    """One delivery within an authentic request: most requests are one, a batch holds several.

    `accounts` are all the ids by which it names the provider's account; `spellings` are other ways to write the one
    that `accounts` names. `delivery` identifies it for good among everything that comes by the same connection; it is
    empty where nothing tells it from a later one that says the same: then each arrival is a delivery of its own, so
    that none is lost as a copy. `conversation` is the provider's ticket that it is about, None when it is about none
    (then nothing needs to be kept in order). `body` is what is kept of the request's body for it: None is all of it,
    as it came.
    """

    accounts: tuple[str, ...]
    delivery: tuple[str, ...]
    conversation: str | None
    body: bytes | None = field(default=None, repr=False)
    spellings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider wants to hear (the status is always 200)."""

    content_type: str
    body: bytes


ACCEPTED = Answer("application/json", b'{"status":"accepted"}')
"""The answer to vendors that read only the status."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A configured, non-secret value of a connection: what it must look like, in a pattern and in words."""

    pattern: re.Pattern[str]
    description: str


class Provider(Protocol):
    """One helpdesk, shop system or other source."""

    @property
    def name(self) -> str:
        """The provider's id in addresses, in the API and on the command line."""

    @property
    def proof(self) -> Proof:
        """By what its requests prove themselves."""

    @property
    def app_level(self) -> bool:
        """Whether the vendor signs with one secret for all accounts that installed an app."""

    @property
    def account_setting(self) -> str | None:
        """The setting that holds the account's id as `Part.accounts` names it; None when requests name no account."""

    @property
    def settings(self) -> Mapping[str, Setting]:
        """What a connection may configure."""

    @property
    def credentials(self) -> frozenset[str]:
        """The names of the secrets that a connection may hold beside `webhook_secret`: those of its API's shapes."""

    @property
    def public_secrets(self) -> frozenset[str]:
        """Secrets that the provider has published: anybody can sign with them, so none is ever taken."""

    @property
    def secret_form(self) -> Setting | None:
        """What a webhook secret must look like to prove anything; None where any text does."""

    @property
    def kept_headers(self) -> frozenset[str]:
        """The headers that are stored with a delivery (lower case); all others are dropped, live credentials too."""

    @property
    def retry_horizon(self) -> timedelta:
        """How long the provider goes on repeating a delivery; its deduplication key lives at least as long."""

    @property
    def api(self) -> Api | None:
        """How to call the provider; None for a source that has no API."""

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], now: datetime) -> Verdict:
        """Judge a request by the secrets that are active now. Never raises, whatever the request holds."""

    def handshake(self, request: Request) -> Answer | None:
        """Return the answer to a request that comes unsigned by right and makes no work; None for all others."""

    def pings(self, request: Request) -> bool:
        """Return whether an authentic request is only a test: it is acknowledged and makes no work."""

    def parts(self, request: Request) -> Sequence[Part]:
        """Return the deliveries in an authentic request, at most MOST_PARTS.

        Never raises and is never empty: an unreadable body is one delivery too.
        """

    def acknowledge(self, request: Request) -> Answer:
        """Return what the provider wants to hear once the delivery is stored."""

    def events(self, request: Request, received: datetime) -> Sequence[Event]:
        """Turn one delivery (its body is that of its part) into events, oldest first; none when there is nothing to do.

        Where the proof is no signature, what it says is not believed: `hint` names the ticket that is fetched instead.

        Raises:
            NotUnderstoodError: the body is not what the provider documents.
        """

    def hint(self, request: Request) -> str | None:
        """Return the provider's id of the ticket that a delivery without a signature is about, to be fetched.

        None when there is nothing to do.

        Raises:
            NotUnderstoodError: the body names no ticket.
        """


class Scheme(Protocol):
    """What can judge a request by secrets: a provider, or one of the predecessor's schemes."""

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], now: datetime) -> Verdict:
        """Judge a request, as `Provider.authenticate`."""


def judge(scheme: Scheme, request: Request, secrets: Iterable[WebhookSecret], now: datetime) -> Verdict:
    """Judge a request by those of `secrets` that are active at `now`; without any, nothing is accepted.

    This is the only way to a verdict: whatever a provider module answers, it counts only with an active secret.
    """
    active = [secret for secret in secrets if secret.active(now)]
    if not active:
        return Verdict.refused("no_active_secret")
    verdict = scheme.authenticate(request, active, now)
    if verdict.accepted and all(secret.version != verdict.secret_version for secret in active):
        return Verdict.refused("secret_not_active")
    return verdict


def account_matches(expected: str | None, part: Part) -> bool:
    """Return whether every account id that a delivery names is the connection's; an unknown one matches all."""
    named = all(account == expected for account in part.accounts)
    return expected is None or named or expected in part.spellings
