"""Calling Freshdesk: tickets with their conversations, priority, tags, private notes, replies.

Tags are replaced by whoever writes them, and there is no guard against two writing at once: they are read, merged,
written and read again, until ours are there.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from services.crm.events import Channel, Event, Fields, Message, Priority, Status
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
from services.crm.providers.logins import basic, complete, no_credentials, setting
from services.crm.providers.markup import holds, html_of_text, text_of_html, watermark
from services.crm.providers.replies import list_in, object_in, too_long
from services.crm.providers.signatures import list_of, object_of, text_of, time_of
from services.crm.providers.snapshots import (
    MOST_CONTENT,
    MOST_EMAIL,
    MOST_ID,
    MOST_SUBJECT,
    MOST_TAGS,
    requester,
    snapshot,
)
from services.crm.providers.timed_walk import following, opened

PAGE = 30
"""How many tickets a page of changes has; the conversations of each take a call of their own."""

_CONVERSATIONS = 100
_MOST_PAGES = 100
_MOST_TRIES = 3
_MINUTE = 60.0
_NO_TICKET = frozenset({404})
_STATUSES: Mapping[int, Status] = MappingProxyType(
    # 6 and 7 are the vendor's own "waiting on customer" and "waiting on third party"; above are the shop's.
    {2: "open", 3: "pending", 4: "closed", 5: "closed", 6: "pending", 7: "pending"}
)
_PRIORITIES: Mapping[int, Priority] = MappingProxyType({1: "low", 2: "normal", 3: "high", 4: "urgent"})
_OUTBOUND = 10
_SOURCES: Mapping[int, Channel] = MappingProxyType(
    {1: "email", 2: "form", 3: "phone", 7: "chat", 9: "form", _OUTBOUND: "email", 13: "chat"}
)

_KEY = CredentialShape(
    "api_key",
    (
        CredentialField("domain", secret=False, description="the part before .freshdesk.com"),
        CredentialField("api_key", secret=True, description="an agent's API key"),
    ),
)


class FreshdeskApi:
    """Freshdesk's REST API, version 2."""

    shapes: Sequence[CredentialShape] = (_KEY,)
    apexes = frozenset({"freshdesk.com"})
    can: frozenset[type[Change]] = frozenset({SetPriority, AddTags, AddNote, SendReply})

    def origin(self, config: Config) -> str:
        """Return the account's own host."""
        return f"https://{setting(config, 'domain')}.freshdesk.com/api/v2"

    def authorization(self, config: Config, credentials: Credentials) -> Mapping[str, str]:
        """Log in by the API key; the password is of no meaning."""
        if not complete(_KEY, config, credentials):
            raise no_credentials()
        return basic(credentials["api_key"], "X")

    def renew(self, _config: Config, _credentials: Credentials) -> Steps[Renewed] | None:
        """API keys do not expire."""
        return None

    def account(self, config: Config) -> Steps[str]:
        """Ask who we are: the host is the account's own, so that whoever is let in there belongs to it."""
        object_in((yield Call("GET", "/agents/me", repeatable=True)))
        return setting(config, "domain")

    def ticket(self, _config: Config, ticket: str) -> Steps[Sequence[Event]]:
        """Fetch a ticket and its conversations."""
        found = yield from _fetch(ticket)
        return ticket_events(found, (yield from _conversations(ticket)))

    def changes(self, _config: Config, since: datetime, cursor: str | None) -> Steps[Changes]:
        """Read a page of the tickets that changed since a time, in that order."""
        start, page = opened(cursor, since)
        query = [
            ("updated_since", start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
            ("order_by", "updated_at"),
            ("order_type", "asc"),
            ("include", "description,requester"),
            ("per_page", str(PAGE)),
            ("page", str(page)),
        ]
        listed = [object_of(each) for each in list_in((yield Call("GET", "/tickets", query=query, repeatable=True)))]
        events: list[Event] = []
        for each in listed:
            try:
                events += ticket_events(each, (yield from _conversations(text_of(each.get("id")))))
            except ApiError as error:
                # What was deleted since has nothing to say.
                if error.reason != "TICKET_NOT_FOUND":
                    raise
        times = [time_of(each.get("updated_at")) or start for each in listed]
        return Changes(events, following(start, page, times) if len(listed) >= PAGE else None)

    def write(self, _config: Config, ticket: str, change: Change) -> Steps[bool]:
        """Make a change, after looking whether it is there."""
        found = yield from _fetch(ticket)
        path = f"/tickets/{ticket}"
        if isinstance(change, SetPriority):
            number = next(number for number, meaning in _PRIORITIES.items() if meaning == change.priority)
            if found.get("priority") == number:
                return False
            yield Call("PUT", path, json={"priority": number}, repeatable=True)
            return True
        if isinstance(change, AddTags):
            return (yield from _add_tags(path, found, change.tags))
        said = yield from _conversations(ticket)
        if any(holds(text_of(each.get(name)), change.marker) for each in said for name in ("body_text", "body")):
            return False
        if len(said) >= _MOST_PAGES * _CONVERSATIONS:
            # The vendor gives the oldest first and in no other order: ours would be behind the last that was read.
            raise too_long()
        if isinstance(change, AddNote):
            text = change.text if change.marker in change.text else f"{change.text}\n\n{change.marker}"
            yield Call("POST", f"{path}/notes", json={"body": html_of_text(text), "private": True})
        else:
            yield Call("POST", f"{path}/reply", json={"body": html_of_text(change.text) + watermark(change.marker)})
        return True

    def pace(self, reply: Reply) -> Pace | None:
        """Read how many calls of the minute are left."""
        remaining = reply.headers.get("x-ratelimit-remaining", "")
        return Pace(int(remaining), _MINUTE) if remaining.isdecimal() else None


def ticket_events(ticket: Mapping[str, Any], said: Sequence[Mapping[str, Any]]) -> Sequence[Event]:
    """Return a ticket as it stands; `said` are its conversations.

    Raises:
        ApiError: it has no id or no time (`ANSWER_NOT_UNDERSTOOD`).
    """
    number = text_of(ticket.get("id"), MOST_ID)
    created = time_of(ticket.get("created_at"))
    changed = time_of(ticket.get("updated_at")) or created
    if not number or changed is None:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the ticket has no id or no time")
    source = ticket.get("source")
    ended = ticket.get("spam") is True or ticket.get("deleted") is True
    fields = Fields(
        customer_id=text_of(ticket.get("requester_id"), MOST_ID) or None,
        subject=text_of(ticket.get("subject"), MOST_SUBJECT) or None,
        channel=_SOURCES.get(source) if isinstance(source, int) else None,
        status="closed" if ended else _by_number(_STATUSES, ticket.get("status")),
        priority=_by_number(_PRIORITIES, ticket.get("priority")),
        tags=_tags(ticket)[:MOST_TAGS] if isinstance(ticket.get("tags"), list) else None,
        created=created,
    )
    first = Message(
        key="description",
        content=_text(ticket, "description_text", "description"),
        from_agent=source == _OUTBOUND,
        created=created,
    )
    told = snapshot(number, changed, fields, (first, *(_message(each) for each in said if text_of(each.get("id")))))
    return requester("freshdesk", told, email=text_of(object_of(ticket.get("requester")).get("email"), MOST_EMAIL))


def _fetch(ticket: str) -> Steps[Mapping[str, Any]]:
    reply = yield Call("GET", _path(ticket), expects=_NO_TICKET, repeatable=True)
    if reply.status in _NO_TICKET:
        raise ApiError("TICKET_NOT_FOUND")
    return object_in(reply)


def _path(ticket: str) -> str:
    if not (ticket.isascii() and ticket.isdecimal()):
        raise ApiError("TICKET_NOT_FOUND")
    return f"/tickets/{ticket}"


def _conversations(ticket: str) -> Steps[list[Mapping[str, Any]]]:
    """Return all that was said on a ticket after its description."""
    found: list[Mapping[str, Any]] = []
    for page in range(1, _MOST_PAGES + 1):
        query = (("per_page", str(_CONVERSATIONS)), ("page", str(page)))
        reply = yield Call("GET", f"{_path(ticket)}/conversations", query=query, expects=_NO_TICKET, repeatable=True)
        if reply.status in _NO_TICKET:
            raise ApiError("TICKET_NOT_FOUND")
        listed = list_in(reply)
        found += [object_of(each) for each in listed]
        if len(listed) < _CONVERSATIONS:
            break
    return found


def _add_tags(path: str, ticket: Mapping[str, Any], tags: Sequence[str]) -> Steps[bool]:
    """Merge tags into those that a ticket has, and look whether somebody else's writing has lost them."""
    made = False
    for _ in range(_MOST_TRIES):
        there = _tags(ticket)
        if all(tag in there for tag in tags):
            return made
        yield Call("PUT", path, json={"tags": list(dict.fromkeys((*there, *tags)))}, repeatable=True)
        made = True
        ticket = object_in((yield Call("GET", path, repeatable=True)))
    if all(tag in _tags(ticket) for tag in tags):
        return True
    raise ApiError("TAGS_NOT_KEPT", "somebody else keeps writing the ticket's tags")


def _tags(ticket: Mapping[str, Any]) -> tuple[str, ...]:
    names = dict.fromkeys(text_of(tag, MOST_ID) for tag in list_of(ticket.get("tags")))
    names.pop("", None)
    return tuple(names)


def _message(said: Mapping[str, Any]) -> Message:
    return Message(
        key=text_of(said.get("id"), MOST_ID),
        content=_text(said, "body_text", "body"),
        from_agent=said.get("incoming") is not True,
        internal=said.get("private") is True,
        author_email=text_of(said.get("from_email"), MOST_EMAIL),
        created=time_of(said.get("created_at")),
    )


def _text(holder: Mapping[str, Any], plain: str, markup: str) -> str:
    """Return the plain text, else that of the HTML."""
    text = text_of(holder.get(plain)).strip() or text_of_html(text_of(holder.get(markup)))
    return text[:MOST_CONTENT]


def _by_number(table: Mapping[int, Any], value: object) -> Any:
    return table.get(value) if isinstance(value, int) else None


FRESHDESK_API = FreshdeskApi()
"""The one instance."""
