"""Calling HubSpot: tickets with their notes and e-mails. There are no tags, and a ticket cannot be replied to."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from services.crm.events import Event, Message, Priority, Status
from services.crm.providers.api import (
    AddNote,
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
    SetPriority,
    Steps,
)
from services.crm.providers.hubspot_events import email_message, note_message, status_of_stage, ticket_events
from services.crm.providers.markup import html_of_text
from services.crm.providers.provider import NotUnderstoodError
from services.crm.providers.replies import clock_of, object_in, too_long
from services.crm.providers.signatures import list_of, object_of, text_of, time_of

_PROPERTIES = (
    "subject",
    "content",
    "hs_ticket_priority",
    "hs_pipeline",
    "hs_pipeline_stage",
    "source_type",
    "createdate",
    "hs_lastmodifieddate",
)
_NOTE_PROPERTIES = ("hs_note_body", "hs_timestamp")
_EMAIL_PROPERTIES = (
    "hs_email_text",
    "hs_email_html",
    "hs_email_direction",
    "hs_email_from_email",
    "hs_email_from_firstname",
    "hs_email_from_lastname",
    "hs_timestamp",
)
_PAGE = 50
_BATCH = 100
_ASSOCIATIONS = 500
_MOST_PAGES = 20
_NOTE_OF_TICKET = 228
"""HubSpot's number for the association of a note with a ticket."""

_WINDOW_SECONDS = 10.0
_NOT_FOUND = frozenset({404})
_PRIORITY_NAMES: Mapping[Priority, str] = MappingProxyType(
    {"urgent": "URGENT", "high": "HIGH", "normal": "MEDIUM", "low": "LOW"}
)
_CURSOR = re.compile(r"(\d{1,16}):(\d{0,16})", re.ASCII)


class HubSpotApi:
    """HubSpot's REST API."""

    shapes: Sequence[CredentialShape] = (
        CredentialShape(
            "private_app",
            (CredentialField("private_app_token", secret=True, description="the token of a private app"),),
        ),
        CredentialShape(
            "oauth",
            (
                CredentialField("client_id", secret=False, description="the app's id"),
                CredentialField("client_secret", secret=True, description="the app's secret"),
                CredentialField("refresh_token", secret=True, description="what access tokens are got by"),
            ),
        ),
    )
    apexes = frozenset({"hubapi.com"})
    can: frozenset[type[Change]] = frozenset({SetPriority, AddNote})

    def origin(self, _config: Config) -> str:
        """Return the one address for all accounts."""
        return "https://api.hubapi.com"

    def authorization(self, _config: Config, credentials: Credentials) -> Mapping[str, str]:
        """Log in by the private app's token, else by the access token."""
        token = credentials.get("private_app_token") or credentials.get("access_token")
        if not token:
            raise ApiError("CREDENTIALS_MISSING")
        return {"authorization": f"Bearer {token}"}

    def renew(self, config: Config, credentials: Credentials) -> Steps[Renewed] | None:
        """Get another access token by the refresh token; a private app's token does not expire."""
        refresh, secret = credentials.get("refresh_token"), credentials.get("client_secret")
        if credentials.get("private_app_token") or not refresh or not secret or not config.get("client_id"):
            return None
        return _renew(config["client_id"], secret, refresh)

    def account(self, _config: Config) -> Steps[str]:
        """Ask which portal the token is for."""
        return text_of(object_in((yield Call("GET", "/account-info/v3/details", repeatable=True))).get("portalId"))

    def ticket(self, _config: Config, ticket: str) -> Steps[Sequence[Event]]:
        """Fetch a ticket with what was written about it."""
        found, _ = yield from _fetch(ticket)
        stage = object_of(found.get("properties"))
        emails, notes = (yield from _emails(ticket, found)), (yield from _notes(ticket, found))[0]
        messages = [*emails, *notes]
        messages.sort(key=lambda message: message.created.timestamp() if message.created else 0.0)
        contacts = _associated(found, "contacts")
        status = yield from _status(text_of(stage.get("hs_pipeline")), text_of(stage.get("hs_pipeline_stage")))
        try:
            return ticket_events(ticket, found, messages, customer=contacts[0] if contacts else "", status=status)
        except NotUnderstoodError as error:
            raise ApiError("ANSWER_NOT_UNDERSTOOD", "the ticket has no time") from error

    def changes(self, config: Config, since: datetime, cursor: str | None) -> Steps[Changes]:
        """Search by the time of the last change, from the time that the page before ended at.

        A page number would pass over tickets: one that changes meanwhile moves to the end, and all behind it move up.
        Only among tickets of the same moment, which does not end, is counted on.
        """
        met = _CURSOR.fullmatch(cursor or "")
        begin, after = (int(met[1]), met[2]) if met else (int(since.timestamp() * 1000), "")
        answer = object_in((yield _search(begin, after)))
        events: list[Event] = []
        last = begin
        for found in map(object_of, list_of(answer.get("results"))):
            changed = time_of(object_of(found.get("properties")).get("hs_lastmodifieddate"))
            last = max(last, int(changed.timestamp() * 1000)) if changed else last
            try:
                events += yield from self.ticket(config, text_of(found.get("id")))
            except ApiError as error:
                # What was deleted since the search has nothing to say.
                if error.reason != "TICKET_NOT_FOUND":
                    raise
        following = _next_page(answer)
        if not following:
            return Changes(events, None)
        return Changes(events, f"{last}:" if last > begin else f"{begin}:{following}")

    def write(self, _config: Config, ticket: str, change: Change) -> Steps[bool]:
        """Make a change, after looking whether it is there."""
        found, at = yield from _fetch(ticket)
        if isinstance(change, SetPriority):
            wanted = _PRIORITY_NAMES[change.priority]
            if object_of(found.get("properties")).get("hs_ticket_priority") == wanted:
                return False
            yield Call("PATCH", _path(ticket), json={"properties": {"hs_ticket_priority": wanted}}, repeatable=True)
            return True
        if not isinstance(change, AddNote):
            raise ApiError("CHANGE_NOT_SUPPORTED")
        # The notes are read by their association with the ticket: a search would know a new one only seconds later.
        notes, complete = yield from _notes(ticket, found)
        if any(change.marker in note.content for note in notes):
            return False
        if not complete:
            raise too_long()
        yield _note(ticket, change, at)
        return True

    def pace(self, reply: Reply) -> Pace | None:
        """Read how many calls are left of the ten seconds' share; the day's share has another header."""
        remaining = reply.headers.get("x-hubspot-ratelimit-remaining", "")
        if not remaining.isdecimal():
            return None
        interval = reply.headers.get("x-hubspot-ratelimit-interval-milliseconds", "")
        return Pace(int(remaining), int(interval) / 1000 if interval.isdecimal() else _WINDOW_SECONDS)


def _renew(client_id: str, secret: str, refresh: str) -> Steps[Renewed]:
    form = (
        ("grant_type", "refresh_token"),
        ("client_id", client_id),
        ("client_secret", secret),
        ("refresh_token", refresh),
    )
    answer = object_in((yield Call("POST", "/oauth/v1/token", form=form)))
    access = text_of(answer.get("access_token"))
    if not access:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "there is no access token")
    expires = answer.get("expires_in")
    secrets = {"access_token": access, "refresh_token": text_of(answer.get("refresh_token")) or refresh}
    return Renewed(secrets, expires if isinstance(expires, int) else None)


def _path(ticket: str) -> str:
    """Return the address of a ticket.

    Raises:
        ApiError: the id is none of HubSpot's.
    """
    if not (ticket.isascii() and ticket.isdecimal()):
        raise ApiError("TICKET_NOT_FOUND")
    return f"/crm/v3/objects/tickets/{ticket}"


def _fetch(ticket: str) -> Steps[tuple[Mapping[str, Any], str]]:
    """Fetch a ticket, and what time it is at HubSpot (else the ticket's last change), as HubSpot writes times."""
    query = (("properties", ",".join(_PROPERTIES)), ("associations", "contacts,emails,notes"))
    reply = yield Call("GET", _path(ticket), query=query, expects=_NOT_FOUND, repeatable=True)
    if reply.status in _NOT_FOUND:
        raise ApiError("TICKET_NOT_FOUND")
    found, now = object_in(reply), clock_of(reply)
    return found, now.isoformat() if now else text_of(found.get("updatedAt"))


def _associated(found: Mapping[str, Any], kind: str) -> list[str]:
    """Return the ids of what belongs to a ticket, each once."""
    results = list_of(object_of(object_of(found.get("associations")).get(kind)).get("results"))
    return list(dict.fromkeys(text_of(object_of(result).get("id")) for result in results))


def _all_associated(
    ticket: str, found: Mapping[str, Any], kind: Literal["notes", "emails"]
) -> Steps[tuple[Sequence[str], bool]]:
    """Return the ids of all that belongs to a ticket, and whether these are all: a ticket shows only the first ones."""
    if not _next_page(object_of(object_of(found.get("associations")).get(kind))):
        return _associated(found, kind), True
    ids: dict[str, None] = {}
    after = ""
    for _ in range(_MOST_PAGES):
        query = [("limit", str(_ASSOCIATIONS)), *([("after", after)] if after else [])]
        page = object_in(
            (yield Call("GET", f"/crm/v4/objects/tickets/{ticket}/associations/{kind}", query=query, repeatable=True))
        )
        ids |= dict.fromkeys(text_of(object_of(each).get("toObjectId")) for each in list_of(page.get("results")))
        after = _next_page(page)
        if not after:
            return list(ids), True
    return list(ids), False


def _next_page(page: Mapping[str, Any]) -> str:
    """Return what asks for the page after this one; empty on the last."""
    return text_of(object_of(object_of(page.get("paging")).get("next")).get("after"))


def _notes(ticket: str, found: Mapping[str, Any]) -> Steps[tuple[Sequence[Message], bool]]:
    """Return a ticket's notes, and whether these are all."""
    ids, complete = yield from _all_associated(ticket, found, "notes")
    read = yield from _batch("notes", ids, _NOTE_PROPERTIES)
    return [message for note in read if (message := note_message(note))], complete


def _emails(ticket: str, found: Mapping[str, Any]) -> Steps[list[Message]]:
    ids, _ = yield from _all_associated(ticket, found, "emails")
    read = yield from _batch("emails", ids, _EMAIL_PROPERTIES)
    return [message for email in read if (message := email_message(email))]


def _batch(kind: Literal["notes", "emails"], ids: Sequence[str], properties: Sequence[str]) -> Steps[list[Any]]:
    """Read objects by their ids; what is gone is left out by HubSpot, which then answers 207."""
    read: list[Any] = []
    for at in range(0, len(ids), _BATCH):
        wanted = {"properties": list(properties), "inputs": [{"id": each} for each in ids[at : at + _BATCH]]}
        reply = yield Call("POST", f"/crm/v3/objects/{kind}/batch/read", json=wanted, repeatable=True)
        read += [object_of(result) for result in list_of(object_in(reply).get("results"))]
    return read


def _status(pipeline: str, stage: str) -> Steps[Status | None]:
    """Return the status of a stage that an account made itself; None where the stage says it without asking."""
    if not stage.isalnum() or not pipeline.isalnum() or status_of_stage(stage):
        return None
    path = f"/crm/v3/pipelines/tickets/{pipeline}/stages/{stage}"
    reply = yield Call("GET", path, expects=_NOT_FOUND, repeatable=True)
    if reply.status in _NOT_FOUND:
        return None
    state = text_of(object_of(object_in(reply).get("metadata")).get("ticketState"))
    return "closed" if state == "CLOSED" else "open" if state == "OPEN" else None


def _search(begin: int, after: str) -> Call:
    """Return the search for what changed at or after a time, oldest first; it is a POST that changes nothing."""
    changed = {"propertyName": "hs_lastmodifieddate", "operator": "GTE", "value": str(begin)}
    body = {
        "filterGroups": [{"filters": [changed]}],
        "sorts": [{"propertyName": "hs_lastmodifieddate", "direction": "ASCENDING"}],
        "properties": ["hs_lastmodifieddate"],
        "limit": _PAGE,
    }
    return Call(
        "POST", "/crm/v3/objects/tickets/search", json=body | ({"after": after} if after else {}), repeatable=True
    )


def _note(ticket: str, change: AddNote, at: str) -> Call:
    """Return the call that writes a note, which must have a time: `at`."""
    text = html_of_text(change.text)
    if change.marker not in change.text:
        text += f"<br>{html_of_text(change.marker)}"
    kind = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": _NOTE_OF_TICKET}
    properties = {"hs_note_body": text, "hs_timestamp": at}
    body = {"properties": properties, "associations": [{"to": {"id": ticket}, "types": [kind]}]}
    return Call("POST", "/crm/v3/objects/notes", json=body)


HUBSPOT_API = HubSpotApi()
"""The one instance."""
