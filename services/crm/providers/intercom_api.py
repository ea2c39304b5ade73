"""Calling Intercom: tickets and conversations, notes, replies, tags.

A note or a reply names the teammate that it is from, and a tag is put on by its id, so that each takes one call more.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from services.crm.events import Event, Priority
from services.crm.providers.api import (
    AddNote,
    AddTags,
    ApiError,
    Call,
    Change,
    Changes,
    Config,
    CredentialField,
    Credentials,
    CredentialShape,
    Pace,
    Renewed,
    Reply,
    SendReply,
    SetPriority,
    Steps,
)
from services.crm.providers.intercom_events import CONVERSATION, item_events
from services.crm.providers.markup import holds, html_of_text, watermark
from services.crm.providers.replies import clock_of, object_in
from services.crm.providers.signatures import list_of, object_of, text_of, unix_time_of

VERSION = "2.15"
"""The version of the API that all calls ask for."""

_ORIGINS = MappingProxyType(
    {
        "us": "https://api.intercom.io",
        "eu": "https://api.eu.intercom.io",
        "au": "https://api.au.intercom.io",
    }
)
_PAGE = 50
_WINDOW_SECONDS = 10.0
_NOT_FOUND = frozenset({404})
_PRIORITY_NAMES: Mapping[Priority, str] = MappingProxyType(
    {"urgent": "Urgent", "high": "High", "normal": "Normal", "low": "Low"}
)


class IntercomApi:
    """Intercom's REST API."""

    shapes: Sequence[CredentialShape] = (
        CredentialShape(
            "access_token", (CredentialField("access_token", secret=True, description="the app's access token"),)
        ),
    )
    apexes = frozenset({"intercom.io"})
    can: frozenset[type[Change]] = frozenset({SetPriority, AddTags, AddNote, SendReply})

    def origin(self, config: Config) -> str:
        """Return the address of the region."""
        return _ORIGINS[config.get("region") or "us"]

    def authorization(self, _config: Config, credentials: Credentials) -> Mapping[str, str]:
        """Log in by the access token, and ask for the version that this module knows."""
        token = credentials.get("access_token")
        if not token:
            raise ApiError("CREDENTIALS_MISSING")
        return {"authorization": f"Bearer {token}", "intercom-version": VERSION, "accept": "application/json"}

    def renew(self, _config: Config, _credentials: Credentials) -> Steps[Renewed] | None:
        """Access tokens do not expire."""
        return None

    def account(self, _config: Config) -> Steps[str]:
        """Ask whose token it is."""
        me = object_in((yield Call("GET", "/me", repeatable=True)))
        return text_of(object_of(me.get("app")).get("id_code"))

    def ticket(self, _config: Config, ticket: str) -> Steps[Sequence[Event]]:
        """Fetch a ticket or a conversation with all its parts."""
        item = yield from _fetch(ticket)
        return _events(ticket, item)

    def changes(self, config: Config, since: datetime, cursor: str | None) -> Steps[Changes]:
        """Search for tickets, then for conversations; a search knows no parts, so that each one found is fetched."""
        kind, _, after = (cursor or "tickets:").partition(":")
        answer = object_in((yield _search(kind, since, after)))
        prefix = CONVERSATION if kind == "conversations" else ""
        events: list[Event] = []
        for found in list_of(answer.get(kind)):
            try:
                events += yield from self.ticket(config, prefix + text_of(object_of(found).get("id")))
            except ApiError as error:
                # What was deleted since the search has nothing to say.
                if error.reason != "TICKET_NOT_FOUND":
                    raise
        pages = object_of(answer.get("pages"))
        later = text_of(object_of(pages.get("next")).get("starting_after"))
        if later:
            return Changes(events, f"{kind}:{later}")
        return Changes(events, "conversations:" if kind == "tickets" else None)

    def write(self, config: Config, ticket: str, change: Change) -> Steps[bool]:
        """Make a change, after looking whether it is there."""
        item = yield from _fetch(ticket)
        if isinstance(change, SetPriority):
            return (yield from _set_priority(config, ticket, item, change))
        if isinstance(change, AddTags):
            return (yield from _add_tags(config, ticket, item, change))
        if any(holds(text, change.marker) for text in _bodies(ticket, item)):
            return False
        note = isinstance(change, AddNote)
        text = html_of_text(change.text)
        if note and change.marker not in change.text:
            text += f"<br>{html_of_text(change.marker)}"
        said = {
            "type": "admin",
            "admin_id": (yield from _admin(config)),
            "message_type": "note" if note else "comment",
            "body": text if note else text + watermark(change.marker),
        }
        yield Call("POST", f"{_path(ticket)}/reply", json=said)
        return True

    def pace(self, reply: Reply) -> Pace | None:
        """Read how many calls are left of the ten seconds' share; the reset is a time, told apart by the reply's."""
        remaining, reset = reply.headers.get("x-ratelimit-remaining"), reply.headers.get("x-ratelimit-reset")
        until = unix_time_of(reset)
        if until is None or remaining is None or not remaining.isdecimal():
            return None
        now = clock_of(reply)
        return Pace(int(remaining), max(0.0, (until - now).total_seconds()) if now else _WINDOW_SECONDS)


def _search(kind: str, since: datetime, after: str) -> Call:
    """Return the search for what changed after a second, oldest first; it is a POST that changes nothing."""
    # The operator excludes the second itself.
    changed = {"field": "updated_at", "operator": ">", "value": str(int(since.timestamp()) - 1)}
    pagination: dict[str, Any] = {"per_page": _PAGE} | ({"starting_after": after} if after else {})
    body = {
        "query": {"operator": "AND", "value": [changed]},
        "sort": {"field": "updated_at", "order": "ascending"},
        "pagination": pagination,
    }
    return Call("POST", f"/{kind}/search", json=body, repeatable=True)


def _path(ticket: str) -> str:
    """Return the address of a ticket or a conversation.

    Raises:
        ApiError: the id is none of Intercom's.
    """
    kind, number = ("conversations", ticket.removeprefix(CONVERSATION)) if _spoken(ticket) else ("tickets", ticket)
    if not (number.isascii() and number.isalnum()):
        raise ApiError("TICKET_NOT_FOUND")
    return f"/{kind}/{number}"


def _spoken(ticket: str) -> bool:
    """Return whether the id is a conversation's."""
    return ticket.startswith(CONVERSATION)


def _fetch(ticket: str) -> Steps[Mapping[str, Any]]:
    reply = yield Call("GET", _path(ticket), expects=_NOT_FOUND, repeatable=True)
    if reply.status in _NOT_FOUND:
        raise ApiError("TICKET_NOT_FOUND")
    return object_in(reply)


def _events(ticket: str, item: Mapping[str, Any]) -> Sequence[Event]:
    changed = unix_time_of(item.get("updated_at")) or unix_time_of(item.get("created_at"))
    if changed is None:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the ticket has no time")
    return item_events(ticket, item, changed)


def _bodies(ticket: str, item: Mapping[str, Any]) -> list[str]:
    """Return the words of all parts, as Intercom keeps them."""
    holder = "conversation_parts" if _spoken(ticket) else "ticket_parts"
    return [text_of(object_of(part).get("body")) for part in list_of(object_of(item.get(holder)).get(holder))]


def _admin(config: Config) -> Steps[str]:
    """Return who a note is from: the teammate that the connection names, else the token's owner."""
    if configured := config.get("admin_id"):
        return configured
    return text_of(object_in((yield Call("GET", "/me", repeatable=True))).get("id"))


def _set_priority(config: Config, ticket: str, item: Mapping[str, Any], change: SetPriority) -> Steps[bool]:
    """Write the ticket attribute that the connection names; Intercom has no priority that can be written else."""
    attribute = config.get("priority_attribute")
    if not attribute or _spoken(ticket):
        raise ApiError("PRIORITY_NOT_SUPPORTED", "only tickets, and only with the setting priority_attribute")
    wanted = _PRIORITY_NAMES[change.priority]
    if object_of(item.get("ticket_attributes")).get(attribute) == wanted:
        return False
    yield Call("PUT", _path(ticket), json={"ticket_attributes": {attribute: wanted}}, repeatable=True)
    return True


def _add_tags(config: Config, ticket: str, item: Mapping[str, Any], change: AddTags) -> Steps[bool]:
    """Put on each tag that is not there; `POST /tags` gives the one that has the name, or makes it."""
    there = {text_of(object_of(tag).get("name")) for tag in list_of(object_of(item.get("tags")).get("tags"))}
    missing = [tag for tag in dict.fromkeys(change.tags) if tag not in there]
    if not missing:
        return False
    admin = yield from _admin(config)
    for tag in missing:
        made = object_in((yield Call("POST", "/tags", json={"name": tag}, repeatable=True)))
        given = {"id": text_of(made.get("id")), "admin_id": admin}
        yield Call("POST", f"{_path(ticket)}/tags", json=given, repeatable=True)
    return True


INTERCOM_API = IntercomApi()
"""The one instance."""
