"""Changes that are to be made at a helpdesk: what they hold, by what a note is found again, and when they are tried."""

import random
from base64 import b32encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, TypeAlias, cast
from uuid import UUID

import orjson

from servicekit.envelope import Sealer
from services.crm.deliveries import retry_delay
from services.crm.errors import (
    CredentialsMissingError,
    OperationUnsupportedError,
    ReplyNotConfirmedError,
    WriteStateError,
)
from services.crm.events import Priority
from services.crm.providers.api import AddNote, AddTags, Api, Change, SendReply, SetPriority

FEATURE = "write_back"
"""The feature of tenants that write back."""

MOST_ATTEMPTS = 12
"""How often a change is tried before it is dead; with the waits between, about half an hour."""

AFTERMATH = timedelta(seconds=10)
"""How long to wait when the vendor may be at it still: what it writes must be there before its marker is looked for."""

_FIRST_RETRY = timedelta(seconds=1)
_FIELD = "write"
_VERSION = 1
_MARKER_LENGTH = 16


class Kind(StrEnum):
    """What is changed; the values are those that are stored."""

    PRIORITY = "priority"
    TAGS = "tags"
    NOTE = "note"
    REPLY = "reply"


class State(StrEnum):
    """Where a change stands; the values are those that are stored."""

    PENDING = "pending"
    DONE = "done"
    DEAD = "dead"


_CHANGES: Mapping[Kind, tuple[type[Change], str]] = {
    Kind.PRIORITY: (SetPriority, "priority"),
    Kind.TAGS: (AddTags, "tags"),
    Kind.NOTE: (AddNote, "internal notes"),
    Kind.REPLY: (SendReply, "replies"),
}

Content: TypeAlias = Mapping[str, Any]
"""What is to be written: `priority`, `tags` or `text`, by the kind."""


@dataclass(frozen=True, slots=True)
class Write:
    """A change as people see it: without what is to be written. `made` says whether it was us who made it."""

    id: UUID
    request_id: str
    ticket_id: UUID
    connection_id: UUID
    external_id: str
    kind: Kind
    state: State
    reason: str
    attempts: int
    made: bool
    created: datetime
    state_time: datetime


def marker_of(write: UUID) -> str:
    """Return the short text by which what a change wrote is found again: the same whenever it is asked for."""
    digest = sha256(b"rapport/crm/write\n" + write.bytes).digest()
    return f"rapport-{b32encode(digest).decode().lower()[:_MARKER_LENGTH]}"


def digest_of(ticket: UUID, kind: Kind, asked: Content) -> bytes:
    """Return the 32 bytes that tell whether two requests ask for the same change of the same ticket."""
    return sha256(orjson.dumps([str(ticket), kind, asked], option=orjson.OPT_SORT_KEYS)).digest()


def lane_of(connection: UUID, external_id: str) -> int:
    """Return the number (63 bits) of the ticket whose changes are made one after the other."""
    return int.from_bytes(sha256(connection.bytes + external_id.encode("utf-8", "surrogatepass")).digest()[:8]) >> 1


def change_of(write: UUID, kind: Kind, content: Content) -> Change:
    """Return a change in the words of the provider modules."""
    match kind:
        case Kind.PRIORITY:
            return SetPriority(cast("Priority", content["priority"]))
        case Kind.TAGS:
            return AddTags(tuple(content["tags"]))
        case Kind.NOTE:
            return AddNote(content["text"], marker_of(write))
        case Kind.REPLY:
            return SendReply(content["text"], marker_of(write))


def seal_content(sealer: Sealer, content: Content, *, tenant_id: UUID, write: UUID) -> bytes:
    """Return what is to be written as it is stored."""
    plain = orjson.dumps(content)
    return sealer.seal(plain, tenant_id=tenant_id, record=str(write), field=_FIELD, version=_VERSION)


def open_content(sealer: Sealer, sealed: bytes, *, tenant_id: UUID, write: UUID) -> Content:
    """Return what is to be written.

    Raises:
        servicekit.envelope.SealBrokenError: it was not sealed for this change, or by this key.
    """
    plain = sealer.open(sealed, tenant_id=tenant_id, record=str(write), field=_FIELD, version=_VERSION)
    return cast("Content", orjson.loads(plain))


def require_able(provider: str, api: Api | None, kind: Kind) -> Api:
    """Return the provider's API if there is such a thing as this change at it.

    Raises:
        OperationUnsupportedError: there is not.
    """
    change, words = _CHANGES[kind]
    if api is None or change not in api.can:
        raise OperationUnsupportedError(
            f"{provider} has no {words} that can be written.", metadata={"provider": provider}
        )
    return api


def require_credentials(api: Api, config: Mapping[str, str], secrets: Sequence[str]) -> None:
    """Require all fields of one of the ways to log in; `secrets` are the names of the stored ones.

    Raises:
        CredentialsMissingError: no way is complete.
    """
    have = {*config, *secrets}
    if not any(all(field.name in have for field in shape.fields) for shape in api.shapes):
        ways = " or ".join(", ".join(field.name for field in shape.fields) for shape in api.shapes)
        raise CredentialsMissingError(f"The connection has no credentials for the provider's API: it needs {ways}.")


def require_dead(state: State) -> None:
    """Allow a person's decision only where one is asked for.

    Raises:
        WriteStateError: the change is not dead.
    """
    if state is not State.DEAD:
        raise WriteStateError(f"The write is {state}.", metadata={"state": state})


def require_confirmed(kind: Kind, *, send: bool) -> None:
    """Let a customer hear something only if that is asked for.

    Raises:
        ReplyNotConfirmedError: the change is a reply, and it is not.
    """
    if kind is Kind.REPLY and not send:
        raise ReplyNotConfirmedError("The write is a reply to a customer: it is tried again only with send.")


def next_try(attempts: int, *, chance: random.Random) -> timedelta:
    """Return how long to wait after failed attempt number `attempts` (from 1), if the vendor says nothing of it."""
    return max(retry_delay(attempts, chance=chance), _FIRST_RETRY)


def recommendation_text(recommendation: Mapping[str, Any]) -> str:
    """Return a recommendation, in the shape of `rapport.recommendations.v1.Recommendation`, as the text of a note."""
    lines = [f"Recommended next steps ({recommendation.get('priority', 'normal')} priority)"]
    for action in recommendation.get("actions", ()):
        lines += ["", f"{action['priority']}. {action['action']}", f"   Why: {action['reasoning']}"]
    for title, name in (("Talking points", "talking_points"), ("Beware", "warnings")):
        if points := recommendation.get(name):
            lines += ["", f"{title}:", *(f"- {point}" for point in points)]
    return "\n".join(lines)
