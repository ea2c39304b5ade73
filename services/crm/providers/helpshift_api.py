"""Calling Helpshift: issues with their messages, tags, private notes, replies. Bodies are forms, times milliseconds.

Helpshift has no priority of its own. Tags are replaced by whoever writes them, without a guard: they are read, merged,
written and read again. Not documented, and so to be checked against a live account: the filter `updated_since` and
`updated_at` (seen in use by others), and that an issue shows its private notes when asked to include them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import orjson

from services.crm.events import Event, Fields, Message, Status
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
    Steps,
)
from services.crm.providers.logins import basic, complete, no_credentials, setting
from services.crm.providers.markup import holds, watermark
from services.crm.providers.replies import object_in
from services.crm.providers.signatures import list_of, object_of, text_of, unix_time_of
from services.crm.providers.snapshots import (
    MOST_CONTENT,
    MOST_EMAIL,
    MOST_ID,
    MOST_NAME,
    MOST_SUBJECT,
    MOST_TAGS,
    requester,
    snapshot,
)
from services.crm.providers.timed_walk import following, opened

PAGE = 100
"""How many issues a page of changes has; they come with their messages."""

_MOST_TRIES = 3
_NO_ISSUE = frozenset({404})
_INCLUDES = ("includes", '["meta","private_notes"]')
_STATES: Mapping[str, Status] = MappingProxyType(
    {
        "new": "open",
        "new for agent": "open",
        "waiting for agent": "open",
        "in progress": "open",
        "agent replied": "pending",
        "pending": "pending",
        "on hold": "pending",
        "resolved": "closed",
        "rejected": "closed",
        "closed": "closed",
    }
)

_KEY = CredentialShape(
    "api_key",
    (
        CredentialField("domain", secret=False, description="the part before .helpshift.com"),
        CredentialField("api_key", secret=True, description="the REST API key"),
    ),
)


class HelpshiftApi:
    """Helpshift's REST API, version 1."""

    shapes: Sequence[CredentialShape] = (_KEY,)
    apexes = frozenset({"helpshift.com"})
    can: frozenset[type[Change]] = frozenset({AddTags, AddNote, SendReply})

    def origin(self, config: Config) -> str:
        """Return the one host of the API, with the domain in its path."""
        return f"https://api.helpshift.com/v1/{setting(config, 'domain')}"

    def authorization(self, config: Config, credentials: Credentials) -> Mapping[str, str]:
        """Log in by the API key, with no password."""
        if not complete(_KEY, config, credentials):
            raise no_credentials()
        return basic(credentials["api_key"], "")

    def renew(self, _config: Config, _credentials: Credentials) -> Steps[Renewed] | None:
        """API keys do not expire."""
        return None

    def account(self, config: Config) -> Steps[str]:
        """Ask for the apps: the domain is in the path, so that whoever is let in there belongs to it."""
        object_in((yield Call("GET", "/apps", repeatable=True)))
        return setting(config, "domain")

    def ticket(self, _config: Config, ticket: str) -> Steps[Sequence[Event]]:
        """Fetch an issue, which has its messages in it."""
        return issue_events((yield from _fetch(ticket)))

    def changes(self, _config: Config, since: datetime, cursor: str | None) -> Steps[Changes]:
        """Read a page of the issues that changed since a time, in that order."""
        start, page = opened(cursor, since)
        query = (
            ("updated_since", str(int(start.timestamp() * 1000))),
            ("sort-order", "asc"),
            ("page-size", str(PAGE)),
            ("page", str(page)),
            _INCLUDES,
        )
        answer = object_in((yield Call("GET", "/issues", query=query, repeatable=True)))
        issues = [object_of(each) for each in list_of(answer.get("issues"))]
        events = [event for issue in issues for event in issue_events(issue)]
        times = [_changed(issue) or start for issue in issues]
        return Changes(events, following(start, page, times) if len(issues) >= PAGE else None)

    def write(self, _config: Config, ticket: str, change: Change) -> Steps[bool]:
        """Make a change, after looking whether it is there.

        Raises:
            ApiError: it is a priority (`CHANGE_NOT_POSSIBLE`), among what all steps raise.
        """
        issue = yield from _fetch(ticket)
        if isinstance(change, AddTags):
            return (yield from _add_tags(ticket, issue, change.tags))
        if isinstance(change, AddNote):
            if any(holds(text_of(note.get("body")), change.marker) for note in _notes(issue)):
                return False
            text = change.text if change.marker in change.text else f"{change.text}\n\n{change.marker}"
            yield Call("POST", f"/issues/{ticket}/private-notes", form=(("body", text),))
            return True
        if isinstance(change, SendReply):
            said = (text_of(object_of(message).get("body")) for message in list_of(issue.get("messages")))
            if any(holds(text, change.marker) for text in said):
                return False
            form = (("message-body", change.text + watermark(change.marker)), ("message-type", "Text"))
            yield Call("POST", f"/issues/{ticket}/messages", form=form)
            return True
        raise ApiError("CHANGE_NOT_POSSIBLE", "Helpshift has no priority")

    def pace(self, _reply: Reply) -> Pace | None:
        """Helpshift documents no headers that tell the limit."""
        return None


def issue_events(issue: Mapping[str, Any]) -> Sequence[Event]:
    """Return an issue as it stands.

    Raises:
        ApiError: it has no id or no time (`ANSWER_NOT_UNDERSTOOD`).
    """
    number, changed = text_of(issue.get("id"), MOST_ID), _changed(issue)
    if not number or changed is None:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the issue has no id or no time")
    email = text_of(issue.get("author_email"), MOST_EMAIL)
    name = text_of(issue.get("author_name"), MOST_NAME)
    state = text_of(object_of(issue.get("state_data")).get("state")).lower().replace("-", " ").replace("_", " ")
    said = [(raw, _message(raw, email, name, internal=False)) for raw in map(object_of, list_of(issue.get("messages")))]
    notes = [_message(note, email, name, internal=True) for note in _notes(issue)]
    authors = (text_of(object_of(raw.get("author")).get("id"), MOST_ID) for raw, each in said if not each.from_agent)
    customer = next((author for author in authors if author), "")
    fields = Fields(
        customer_id=customer or email[:MOST_ID] or None,
        subject=text_of(issue.get("title"), MOST_SUBJECT) or None,
        channel="chat",
        status=_STATES.get(state),
        tags=_tags(issue)[:MOST_TAGS] if isinstance(issue.get("tags"), list) else None,
        created=_time(issue.get("created_at")),
    )
    told = snapshot(number, changed, fields, [each for each in (*(each for _, each in said), *notes) if each.key])
    return requester("helpshift", told, email=email, own_id=bool(customer))


def _fetch(ticket: str) -> Steps[Mapping[str, Any]]:
    if not (ticket.isascii() and ticket.isdecimal()):
        raise ApiError("TICKET_NOT_FOUND")
    reply = yield Call("GET", f"/issues/{ticket}", query=(_INCLUDES,), expects=_NO_ISSUE, repeatable=True)
    # The answer is a list of one; an unknown issue is an empty one.
    issues = [] if reply.status in _NO_ISSUE else list_of(object_in(reply).get("issues"))
    if not issues:
        raise ApiError("TICKET_NOT_FOUND")
    return object_of(issues[0])


def _add_tags(ticket: str, issue: Mapping[str, Any], tags: Sequence[str]) -> Steps[bool]:
    """Merge tags into those that an issue has, and look whether somebody else's writing has lost them."""
    made = False
    for _ in range(_MOST_TRIES):
        there = _tags(issue)
        if all(tag in there for tag in tags):
            return made
        merged = orjson.dumps(list(dict.fromkeys((*there, *tags)))).decode()
        yield Call("PUT", f"/issues/{ticket}", form=(("tags", merged),), repeatable=True)
        made = True
        issue = yield from _fetch(ticket)
    if all(tag in _tags(issue) for tag in tags):
        return True
    raise ApiError("TAGS_NOT_KEPT", "somebody else keeps writing the issue's tags")


def _tags(issue: Mapping[str, Any]) -> tuple[str, ...]:
    names = dict.fromkeys(text_of(tag, MOST_ID) for tag in list_of(issue.get("tags")))
    names.pop("", None)
    return tuple(names)


def _notes(issue: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [object_of(note) for note in list_of(issue.get("private_notes")) or list_of(issue.get("notes"))]


def _changed(issue: Mapping[str, Any]) -> datetime | None:
    """Return when an issue changed last: as it says itself, else when its state did or it was opened."""
    told = (
        _time(issue.get("updated_at")),
        _time(object_of(issue.get("state_data")).get("changed_at")),
        _time(issue.get("created_at")),
    )
    return next((time for time in told if time is not None), None)


def _message(message: Mapping[str, Any], email: str, name: str, *, internal: bool) -> Message:
    """Return a message or a note. Where it does not say from which side it is, its author is compared."""
    author = object_of(message.get("author"))
    addresses = [text_of(each, MOST_EMAIL) for each in list_of(author.get("emails"))]
    origin = text_of(message.get("origin"))
    customers = email in addresses if email else text_of(author.get("name")) == name
    return Message(
        key=text_of(message.get("id"), MOST_ID) or text_of(message.get("created_at"), MOST_ID),
        content=text_of(message.get("body"), MOST_CONTENT),
        from_agent=internal or (origin != "end-user" if origin else not customers),
        internal=internal,
        author_name=text_of(author.get("name"), MOST_NAME),
        author_email=next(iter(addresses), ""),
        created=_time(message.get("created_at")),
    )


def _time(value: object) -> datetime | None:
    return unix_time_of(value, per_second=1000)


HELPSHIFT_API = HelpshiftApi()
"""The one instance."""
