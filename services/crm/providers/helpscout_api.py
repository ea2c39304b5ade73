"""Calling Help Scout: conversations with their threads and tags. There is no priority."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson

from services.crm.events import Event
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
from services.crm.providers.helpscout_events import changed_of, conversation_events, tag_names, thread_texts
from services.crm.providers.markup import holds, html_of_text, watermark
from services.crm.providers.replies import object_in
from services.crm.providers.signatures import list_of, object_of, text_of
from services.crm.providers.timed_walk import following, opened

_NOT_FOUND = frozenset({404})
_WINDOW_SECONDS = 60.0


class HelpScoutApi:
    """Help Scout's Mailbox API, version 2."""

    shapes: Sequence[CredentialShape] = (
        CredentialShape(
            "oauth",
            (
                CredentialField("app_id", secret=False, description="the OAuth app's id"),
                CredentialField("app_secret", secret=True, description="the OAuth app's secret"),
            ),
        ),
    )
    apexes = frozenset({"helpscout.net"})
    can: frozenset[type[Change]] = frozenset({AddTags, AddNote, SendReply})

    def origin(self, _config: Config) -> str:
        """Return the one address for all accounts."""
        return "https://api.helpscout.net/v2"

    def authorization(self, _config: Config, credentials: Credentials) -> Mapping[str, str]:
        """Log in by the access token that `renew` got."""
        token = credentials.get("access_token")
        if not token:
            raise ApiError("CREDENTIALS_MISSING")
        return {"authorization": f"Bearer {token}"}

    def renew(self, config: Config, credentials: Credentials) -> Steps[Renewed] | None:
        """Get an access token: by the refresh token where there is one, else in the name of the app itself."""
        if not config.get("app_id") or not credentials.get("app_secret"):
            return None
        return _renew(config["app_id"], credentials["app_secret"], credentials.get("refresh_token", ""))

    def account(self, _config: Config) -> Steps[str]:
        """Ask whose token it is: the company of its user."""
        return text_of(object_in((yield Call("GET", "/users/me", repeatable=True))).get("companyId"))

    def ticket(self, _config: Config, ticket: str) -> Steps[Sequence[Event]]:
        """Fetch a conversation with its threads."""
        return _events((yield from _fetch(ticket)))

    def changes(self, _config: Config, since: datetime, cursor: str | None) -> Steps[Changes]:
        """List what was modified, oldest first, with the threads in it.

        What a conversation tells of its times is never later than its modification, so that a walk which goes on at the
        last such time passes over none.
        """
        begin, page = opened(cursor, since)
        query = (
            ("status", "all"),
            ("modifiedSince", begin.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
            ("sortField", "modifiedAt"),
            ("sortOrder", "asc"),
            ("embed", "threads"),
            ("page", str(page)),
        )
        reply = yield Call("GET", "/conversations", query=query, repeatable=True)
        answer = object_in(reply)
        found = [object_of(each) for each in list_of(object_of(answer.get("_embedded")).get("conversations"))]
        events = [event for body in found for event in _events(body)]
        pages = object_of(answer.get("page")).get("totalPages")
        if not isinstance(pages, int) or page >= pages:
            return Changes(events, None)
        return Changes(events, following(begin, page, [time for body in found if (time := changed_of(body))]))

    def write(self, _config: Config, ticket: str, change: Change) -> Steps[bool]:
        """Make a change, after looking whether it is there."""
        body = yield from _fetch(ticket)
        if isinstance(change, AddTags):
            there = tag_names(body)
            tags = list(dict.fromkeys([*there, *change.tags]))
            if len(tags) == len(set(there)):
                return False
            # This replaces all tags, and the vendor has no guard: what was put on since the look is lost, so look late.
            yield Call("PUT", f"{_path(ticket)}/tags", json={"tags": tags}, repeatable=True)
            return True
        if isinstance(change, SetPriority):
            raise ApiError("CHANGE_NOT_SUPPORTED")
        if any(holds(text, change.marker) for text in thread_texts(body)):
            return False
        yield _said(ticket, body, change)
        return True

    def pace(self, reply: Reply) -> Pace | None:
        """Read how many calls are left of the minute's share."""
        remaining = reply.headers.get("x-ratelimit-remaining-minute", "")
        if not remaining.isdecimal():
            return None
        after = reply.headers.get("x-ratelimit-retry-after", "")
        return Pace(int(remaining), float(after) if after.isdecimal() else _WINDOW_SECONDS)


def _renew(app_id: str, secret: str, refresh: str) -> Steps[Renewed]:
    grant = (("grant_type", "refresh_token"), ("refresh_token", refresh)) if refresh else ()
    form = (
        *(grant or (("grant_type", "client_credentials"),)),
        ("client_id", app_id),
        ("client_secret", secret),
    )
    answer = object_in((yield Call("POST", "/oauth2/token", form=form, repeatable=not refresh)))
    access = text_of(answer.get("access_token"))
    if not access:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "there is no access token")
    secrets = {"access_token": access}
    if refresh:
        # Each refresh token is good for one use.
        secrets["refresh_token"] = text_of(answer.get("refresh_token")) or refresh
    expires = answer.get("expires_in")
    return Renewed(secrets, expires if isinstance(expires, int) else None)


def _path(ticket: str) -> str:
    """Return the address of a conversation.

    Raises:
        ApiError: the id is none of Help Scout's.
    """
    if not (ticket.isascii() and ticket.isdecimal()):
        raise ApiError("TICKET_NOT_FOUND")
    return f"/conversations/{ticket}"


def _fetch(ticket: str) -> Steps[Mapping[str, Any]]:
    reply = yield Call("GET", _path(ticket), query=(("embed", "threads"),), expects=_NOT_FOUND, repeatable=True)
    if reply.status in _NOT_FOUND:
        raise ApiError("TICKET_NOT_FOUND")
    return object_in(reply)


def _events(body: Mapping[str, Any]) -> Sequence[Event]:
    """Return a conversation's state; a hash of it is in the key, because no time says when it last changed."""
    ticket, changed = text_of(body.get("id")), changed_of(body)
    if not ticket or changed is None:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the conversation has no id or no time")
    state = sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
    return conversation_events(body, changed, key=f"snapshot/{ticket}/{changed.isoformat()}/{state}")


def _said(ticket: str, body: Mapping[str, Any], change: AddNote | SendReply) -> Call:
    """Return the call that writes a note, or a reply to the conversation's customer."""
    text = html_of_text(change.text)
    if isinstance(change, AddNote):
        if change.marker not in change.text:
            text += f"<br>{html_of_text(change.marker)}"
        return Call("POST", f"{_path(ticket)}/notes", json={"text": text})
    customer = object_of(body.get("primaryCustomer")).get("id")
    said = {"customer": {"id": customer}, "text": text + watermark(change.marker)}
    return Call("POST", f"{_path(ticket)}/reply", json=said)


HELPSCOUT_API = HelpScoutApi()
"""The one instance."""
