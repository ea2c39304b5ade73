"""Calling Zendesk Support: tickets with their comments, the incremental export, and updates that overwrite nobody's.

An update names the state of the ticket that it was made for (`safe_update`), and Zendesk refuses it when somebody was
faster: it is made anew from what stands there then. Tags can be replaced only, so that they are merged before.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.crm.events import Event, Fields, Message
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
from services.crm.providers.logins import basic, bearer, complete, no_credentials, setting
from services.crm.providers.markup import holds, watermark
from services.crm.providers.replies import object_in, too_long
from services.crm.providers.signatures import json_object, list_of, object_of, text_of, time_of
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
from services.crm.providers.zendesk_events import CHANNELS, PRIORITIES, STATUSES

PAGE = 50
"""How many tickets of the export are read at a time: each takes a call for its comments, ten pages a minute are let."""

_COMMENTS = 100
_MOST_PAGES = 50
_MOST_TRIES = 5
_GONE = frozenset({404})
_TAKEN = frozenset({409})
_REFUSED = frozenset({400, 401})
_TOO_RECENT = frozenset({422})
_STAFF = frozenset({"agent", "admin"})
_TICKETS_LEFT = re.compile(r"remaining=([0-9]{1,9});\s*resets=([0-9]{1,9})", re.ASCII)

_TOKEN = CredentialShape(
    "api_token",
    (
        CredentialField("subdomain", secret=False, description="the part before .zendesk.com"),
        CredentialField("email", secret=False, description="the agent that the token acts as"),
        CredentialField("api_token", secret=True, description="an API token of the account"),
    ),
)
_OAUTH = CredentialShape(
    "oauth",
    (
        CredentialField("subdomain", secret=False, description="the part before .zendesk.com"),
        CredentialField("client_id", secret=False, description="the OAuth client's identifier"),
        CredentialField("client_secret", secret=True, description="the OAuth client's secret"),
        CredentialField("refresh_token", secret=True, description="the refresh token"),
    ),
)


class ZendeskApi:
    """Zendesk's Support API."""

    shapes: Sequence[CredentialShape] = (_TOKEN, _OAUTH)
    apexes = frozenset({"zendesk.com"})
    can: frozenset[type[Change]] = frozenset({SetPriority, AddTags, AddNote, SendReply})

    def origin(self, config: Config) -> str:
        """Return the account's own host."""
        return f"https://{setting(config, 'subdomain')}.zendesk.com"

    def authorization(self, config: Config, credentials: Credentials) -> Mapping[str, str]:
        """Log in by the API token, else by OAuth."""
        if complete(_TOKEN, config, credentials):
            return basic(f"{config['email']}/token", credentials["api_token"])
        if token := credentials.get("access_token"):
            return bearer(token)
        raise no_credentials()

    def renew(self, config: Config, credentials: Credentials) -> Steps[Renewed] | None:
        """Renew the access token; an API token does not expire."""
        if complete(_TOKEN, config, credentials) or not complete(_OAUTH, config, credentials):
            return None
        return _renew(config["client_id"], credentials)

    def account(self, _config: Config) -> Steps[str]:
        """Ask who we are. There is no way to ask for the account's number, which is known from webhooks only.

        Zendesk answers those it does not know as an anonymous user, without an id.
        """
        user = object_of(object_in((yield Call("GET", "/api/v2/users/me.json", repeatable=True))).get("user"))
        if not text_of(user.get("id")) or user.get("role") not in _STAFF:
            raise ApiError("CREDENTIALS_REFUSED", "the credentials are not those of an agent or administrator")
        return ""

    def ticket(self, _config: Config, ticket: str) -> Steps[Sequence[Event]]:
        """Fetch a ticket and its comments."""
        found = yield from _fetch(ticket)
        return snapshot_of(found, *(yield from _comments(ticket)))

    def changes(self, _config: Config, since: datetime, cursor: str | None) -> Steps[Changes]:
        """Read a page of the incremental export, which is in the order of change and skips no ticket."""
        query = ("cursor", cursor) if cursor else ("start_time", str(int(since.timestamp())))
        reply = yield Call(
            "GET",
            "/api/v2/incremental/tickets/cursor.json",
            query=(query, ("per_page", str(PAGE))),
            expects=_TOO_RECENT,
            repeatable=True,
        )
        if reply.status in _TOO_RECENT:
            return _nothing_yet(reply)
        page = object_in(reply)
        events: list[Event] = []
        for each in map(object_of, list_of(page.get("tickets"))):
            try:
                events += snapshot_of(each, *(yield from _comments(text_of(each.get("id")))))
            except ApiError as error:
                if error.reason != "TICKET_NOT_FOUND":
                    raise
                # What was deleted is in the export without comments.
                events += snapshot_of(each, (), {})
        after = text_of(page.get("after_cursor"))
        return Changes(events, None if page.get("end_of_stream") is True or not after else after)

    def write(self, _config: Config, ticket: str, change: Change) -> Steps[bool]:
        """Make a change unless it is there; each try looks at the ticket, and counts only if nobody else was faster."""
        for _ in range(_MOST_TRIES):
            found = yield from _fetch(ticket)
            wanted = yield from _missing(ticket, found, change)
            if not wanted:
                return False
            guarded = wanted | {"safe_update": True, "updated_stamp": text_of(found.get("updated_at"))}
            reply = yield Call("PUT", f"{_path(ticket)}.json", json={"ticket": guarded}, expects=_TAKEN)
            if reply.status not in _TAKEN:
                return True
        raise ApiError("TICKET_BUSY", "somebody else changes the ticket all the time")

    def pace(self, reply: Reply) -> Pace | None:
        """Read how many calls are left: of the endpoint's own limit where it has one, else of the account's."""
        if met := _TICKETS_LEFT.search(reply.headers.get("zendesk-ratelimit-tickets-index", "")):
            return Pace(int(met[1]), float(met[2]))
        names = (("ratelimit-remaining", "x-rate-limit-remaining"), ("ratelimit-reset",))
        left, reset = (next((reply.headers[name] for name in each if name in reply.headers), "") for each in names)
        if not (left.isdecimal() and reset.isdecimal()):
            return None
        return Pace(int(left), float(reset))


def snapshot_of(
    ticket: Mapping[str, Any], comments: Sequence[Mapping[str, Any]], users: Mapping[str, Mapping[str, Any]]
) -> Sequence[Event]:
    """Return a ticket as it stands. `comments` are in their order, `users` their authors by id.

    Raises:
        ApiError: it has no id or no time (`ANSWER_NOT_UNDERSTOOD`).
    """
    number = text_of(ticket.get("id"), MOST_ID)
    changed = time_of(ticket.get("updated_at"))
    if not number or changed is None:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the ticket has no id or no time")
    tags = ticket.get("tags")
    fields = Fields(
        customer_id=text_of(ticket.get("requester_id"), MOST_ID) or None,
        subject=text_of(ticket.get("subject"), MOST_SUBJECT) or None,
        channel=CHANNELS.get(text_of(object_of(ticket.get("via")).get("channel")).lower()),
        status=STATUSES.get(text_of(ticket.get("status")).lower()),
        priority=PRIORITIES.get(text_of(ticket.get("priority")).lower()),
        tags=_tags(ticket)[:MOST_TAGS] if isinstance(tags, list) else None,
        created=time_of(ticket.get("created_at")),
    )
    requester_id = text_of(ticket.get("requester_id"))
    messages = (
        _message(comment, users, requester_id, first=place == 0)
        for place, comment in enumerate(comments)
        if text_of(comment.get("id"))
    )
    told = snapshot(number, changed, fields, messages)
    return requester("zendesk", told, email=text_of(users.get(requester_id, {}).get("email"), MOST_EMAIL))


def _message(
    comment: Mapping[str, Any], users: Mapping[str, Mapping[str, Any]], requester: str, *, first: bool
) -> Message:
    """Return a comment. The first one is the ticket's description: webhooks give that one without an id."""
    author = text_of(comment.get("author_id"))
    user = users.get(author, {})
    staff = user.get("role") in _STAFF if user else author != requester
    return Message(
        key="description" if first else text_of(comment.get("id"), MOST_ID),
        content=(text_of(comment.get("plain_body")).strip() or text_of(comment.get("body")))[:MOST_CONTENT],
        from_agent=staff,
        internal=comment.get("public") is False,
        author_name=text_of(user.get("name"), MOST_NAME),
        author_email=text_of(user.get("email"), MOST_EMAIL),
        created=time_of(comment.get("created_at")),
    )


def _path(ticket: str) -> str:
    if not (ticket.isascii() and ticket.isdecimal()):
        raise ApiError("TICKET_NOT_FOUND")
    return f"/api/v2/tickets/{ticket}"


def _fetch(ticket: str) -> Steps[Mapping[str, Any]]:
    reply = yield Call("GET", f"{_path(ticket)}.json", expects=_GONE, repeatable=True)
    if reply.status in _GONE:
        raise ApiError("TICKET_NOT_FOUND")
    return object_of(object_in(reply).get("ticket"))


def _comments(ticket: str) -> Steps[tuple[Sequence[Mapping[str, Any]], Mapping[str, Mapping[str, Any]]]]:
    """Return all comments of a ticket, the oldest first, and their authors by id."""
    comments: list[Mapping[str, Any]] = []
    users: dict[str, Mapping[str, Any]] = {}
    query = [("include", "users"), ("page[size]", str(_COMMENTS))]
    after = ""
    for _ in range(_MOST_PAGES):
        found, after, page = yield from _comment_page(ticket, query, after)
        comments += found
        users |= {text_of(user.get("id")): user for user in map(object_of, list_of(page.get("users")))}
        if not after:
            break
    return comments, users


def _is_said(ticket: str, marker: str) -> Steps[bool]:
    """Return whether a comment has the marker, the newest first.

    Raises:
        ApiError: there are more than are looked through (`TICKET_TOO_LONG`).
    """
    query = [("sort", "-created_at"), ("page[size]", str(_COMMENTS))]
    after = ""
    for _ in range(_MOST_PAGES):
        comments, after, _ = yield from _comment_page(ticket, query, after)
        if any(holds(text_of(comment.get("body")), marker) for comment in comments):
            return True
        if not after:
            return False
    raise too_long()


def _comment_page(
    ticket: str, query: Sequence[tuple[str, str]], after: str
) -> Steps[tuple[Sequence[Mapping[str, Any]], str, Mapping[str, Any]]]:
    """Return the comments of a page, what asks for the next one (empty on the last), and the whole answer."""
    asked = [*query, ("page[after]", after)] if after else query
    reply = yield Call("GET", f"{_path(ticket)}/comments.json", query=asked, expects=_GONE, repeatable=True)
    if reply.status in _GONE:
        raise ApiError("TICKET_NOT_FOUND")
    page = object_in(reply)
    meta = object_of(page.get("meta"))
    comments = [object_of(comment) for comment in list_of(page.get("comments"))]
    return comments, text_of(meta.get("after_cursor")) if meta.get("has_more") is True else "", page


def _missing(ticket: str, found: Mapping[str, Any], change: Change) -> Steps[dict[str, Any]]:
    """Return what an update has to say for the change to be there; nothing when it is."""
    if isinstance(change, SetPriority):
        return {} if found.get("priority") == change.priority else {"priority": change.priority}
    if isinstance(change, AddTags):
        there = _tags(found)
        return {} if set(change.tags) <= set(there) else {"tags": list(dict.fromkeys((*there, *change.tags)))}
    if (yield from _is_said(ticket, change.marker)):
        return {}
    if isinstance(change, SendReply):
        return {"comment": {"body": change.text + watermark(change.marker), "public": True}}
    text = change.text if change.marker in change.text else f"{change.text}\n\n{change.marker}"
    return {"comment": {"body": text, "public": False}}


def _tags(ticket: Mapping[str, Any]) -> tuple[str, ...]:
    names = dict.fromkeys(text_of(tag, MOST_ID) for tag in list_of(ticket.get("tags")))
    names.pop("", None)
    return tuple(names)


def _nothing_yet(reply: Reply) -> Changes:
    """Return the empty page that a refused start means: the export tells the last minute only when it is over.

    Raises:
        ApiError: it was refused for another reason (`CALL_REFUSED`).
    """
    if text_of(object_of(json_object(reply.body)).get("error")) == "StartTimeTooRecent":
        return Changes((), None)
    raise ApiError("CALL_REFUSED", "the export cannot begin there")


def _renew(client: str, credentials: Credentials) -> Steps[Renewed]:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": credentials["refresh_token"],
        "client_id": client,
        "client_secret": credentials["client_secret"],
    }
    reply = yield Call("POST", "/oauth/tokens", json=form, expects=_REFUSED)
    if reply.status in _REFUSED:
        raise ApiError("CREDENTIALS_REFUSED", "the refresh token or the client's secret is not accepted any more")
    answer = object_in(reply)
    tokens = {name: text_of(answer.get(name)) for name in ("access_token", "refresh_token")}
    if not tokens["access_token"]:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "there is no access token in the answer")
    lifetime = answer.get("expires_in")
    return Renewed(
        {name: text for name, text in tokens.items() if text}, lifetime if isinstance(lifetime, int) else None
    )


ZENDESK_API = ZendeskApi()
"""The one instance."""
