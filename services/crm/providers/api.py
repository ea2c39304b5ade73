"""How a provider's API is called, without calling it: steps that say what to send and what an answer means.

A method of `Api` is a generator: it yields a `Call`, is sent the `Reply`, and returns what came of it. What carries the
steps out (`services/crm/calling/`) knows hosts, credentials, limits and time-outs; a provider module knows only paths
and bodies, and is tested by sending replies by hand.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias, TypeVar

from services.crm.events import Event, Priority

Result = TypeVar("Result")

Credentials: TypeAlias = Mapping[str, str]
"""A connection's secrets by name, those that are newest."""

Config: TypeAlias = Mapping[str, str]
"""A connection's settings by name."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the provider's API.

    `path` begins with "/" and is joined to the provider's origin; `url` is used instead where the provider gave a whole
    address (a next page), which must be at that origin. `expects` are the statuses beside 2xx that the steps want to
    see; all others end the steps. `repeatable` says whether sending it twice changes nothing more than once does.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str = ""
    url: str = field(default="", repr=False)
    query: Sequence[tuple[str, str]] = field(default=(), repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: object = field(default=None, repr=False)
    form: Sequence[tuple[str, str]] = field(default=(), repr=False)
    expects: frozenset[int] = frozenset()
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a call; `headers` has lower-case names."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


Steps: TypeAlias = Generator[Call, Reply, Result]


class ApiError(Exception):
    """The provider's answer does not allow to go on; `reason` is a fixed word, `detail` says more and is not secret."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class CredentialField:
    """A field of a credential shape: whether it is secret, and what it is in words."""

    name: str
    secret: bool
    description: str


@dataclass(frozen=True, slots=True)
class CredentialShape:
    """One way to log in: the fields that belong together. Secret ones are stored sealed, the others as settings."""

    name: str
    fields: Sequence[CredentialField]


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a renewal of an OAuth token gave: the secrets that changed, and the seconds that the access token lives."""

    secrets: Mapping[str, str] = field(repr=False)
    expires_in: int | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """What a reply says about the limit: how many calls are left, and in how many seconds there are new ones."""

    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of what changed since a time; `cursor` asks for the next page, None on the last one."""

    events: Sequence[Event]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class SetPriority:
    """Set a ticket's priority."""

    priority: Priority


@dataclass(frozen=True, slots=True)
class AddTags:
    """Add tags to a ticket, leaving those that it has."""

    tags: Sequence[str]


@dataclass(frozen=True, slots=True)
class AddNote:
    """Add an internal note. `marker` is a short text in it by which it is found again, so that it stands there once."""

    text: str = field(repr=False)
    marker: str


@dataclass(frozen=True, slots=True)
class SendReply:
    """Send a reply to the customer. `marker` finds it again, as in a note; the customer does not see it."""

    text: str = field(repr=False)
    marker: str


Change: TypeAlias = SetPriority | AddTags | AddNote | SendReply


class Api(Protocol):
    """One provider's API."""

    @property
    def shapes(self) -> Sequence[CredentialShape]:
        """The ways to log in; the first whose fields are all there is used."""

    @property
    def apexes(self) -> frozenset[str]:
        """The domains under which every host of this provider lies, for example "zendesk.com"."""

    @property
    def can(self) -> frozenset[type[Change]]:
        """Which changes the provider has; for the others there is no such thing at this vendor."""

    def origin(self, config: Config) -> str:
        """Return the base address, `https://host` with a path where the API has one, made of checked settings.

        Raises:
            ApiError: a setting that is needed is missing (`SETTING_MISSING`).
        """

    def authorization(self, config: Config, credentials: Credentials) -> Mapping[str, str]:
        """Return the headers that log in.

        Raises:
            ApiError: none of the shapes is complete (`CREDENTIALS_MISSING`).
        """

    def renew(self, config: Config, credentials: Credentials) -> "Steps[Renewed] | None":
        """Return the steps that renew an access token; None where the credentials in use do not expire."""

    def account(self, config: Config) -> "Steps[str]":
        """Return the steps that ask whose credentials these are; they end with the account's id, "" if it has none."""

    def ticket(self, config: Config, ticket: str) -> "Steps[Sequence[Event]]":
        """Return the steps that fetch a ticket with its messages, as the events of a snapshot.

        The key of a snapshot's event is made of the ticket and the time of its last change, so that the same state
        read twice is the same event. Raises `ApiError("TICKET_NOT_FOUND")` where there is none.
        """

    def changes(self, config: Config, since: datetime, cursor: str | None) -> "Steps[Changes]":
        """Return the steps that read one page of the tickets (or orders) changed since a time, oldest change first."""

    def write(self, config: Config, ticket: str, change: Change) -> "Steps[bool]":
        """Return the steps that make a change unless it is there already; they end with whether they made it."""

    def pace(self, reply: Reply) -> Pace | None:
        """Return what a reply says about the limit; None when it says nothing."""
