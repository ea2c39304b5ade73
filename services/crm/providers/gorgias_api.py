"""Calling Gorgias: tickets with their messages, priority, tags, internal notes, e-mail replies.

A message may carry an id of ours (`external_id`), which nobody sees: by it a note or a reply is found again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from services.crm.events import Channel, Event, Fields, Message, Priority
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
from services.crm.providers.markup import html_of_text, text_of_html
from services.crm.providers.replies import object_in
from services.crm.providers.signatures import list_of, object_of, text_of, time_of
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

PAGE = 30
"""How many tickets a page of changes has; each of them is fetched by a call of its own for its messages."""

_LIMIT_HEADER = "x-gorgias-account-api-call-limit"
_LIMIT_SECONDS = 20.0  # the bucket of an API key, which is emptied over this time
_MAIL = frozenset({"email", "contact_form", "contact-form", "help-center-contact-form"})
_CHANNELS: Mapping[str, Channel] = MappingProxyType(
    {
        "email": "email",
        "contact_form": "form",
        "contact-form": "form",
        "help-center-contact-form": "form",
        "help-center": "form",
        "sms": "sms",
        "phone": "phone",
        "aircall": "phone",
        "chat": "chat",
        "whatsapp": "chat",
        "facebook": "chat",
        "facebook-messenger": "chat",
        "instagram-direct-message": "chat",
    }
)
# The vendor's interface says critical, another of its descriptions urgent: both are read, and the first is tried first.
_PRIORITIES: Mapping[str, Priority] = MappingProxyType(
    {"critical": "urgent", "urgent": "urgent", "high": "high", "normal": "normal", "low": "low"}
)
_NO_TICKET = frozenset({404})
_REFUSED = frozenset({400})
_SPOILED = frozenset({400, 401})

_KEY = CredentialShape(
    "api_key",
    (
        CredentialField("domain", secret=False, description="the part before .gorgias.com"),
        CredentialField("email", secret=False, description="the user that the key belongs to"),
        CredentialField("api_key", secret=True, description="the REST API key"),
    ),
)
_OAUTH = CredentialShape(
    "oauth",
    (
        CredentialField("domain", secret=False, description="the part before .gorgias.com"),
        CredentialField("client_id", secret=False, description="the app's client id"),
        CredentialField("client_secret", secret=True, description="the app's client secret"),
        CredentialField("refresh_token", secret=True, description="the refresh token (scope offline)"),
    ),
)


class GorgiasApi:
    """Gorgias' REST API."""

    shapes: Sequence[CredentialShape] = (_KEY, _OAUTH)
    apexes = frozenset({"gorgias.com"})
    can: frozenset[type[Change]] = frozenset({SetPriority, AddTags, AddNote, SendReply})

    def origin(self, config: Config) -> str:
        """Return the account's own host."""
        return f"https://{setting(config, 'domain')}.gorgias.com"

    def authorization(self, config: Config, credentials: Credentials) -> Mapping[str, str]:
        """Log in by the API key, else by the access token."""
        if complete(_KEY, config, credentials):
            return basic(config["email"], credentials["api_key"])
        if token := credentials.get("access_token"):
            return bearer(token)
        raise no_credentials()

    def renew(self, config: Config, credentials: Credentials) -> Steps[Renewed] | None:
        """Renew the access token; an API key does not expire."""
        if complete(_KEY, config, credentials) or not complete(_OAUTH, config, credentials):
            return None
        return _renew(config["client_id"], credentials)

    def account(self, _config: Config) -> Steps[str]:
        """Ask for the account's domain."""
        account = object_in((yield Call("GET", "/api/account", repeatable=True)))
        return text_of(account.get("domain")).removesuffix(".gorgias.com")

    def ticket(self, _config: Config, ticket: str) -> Steps[Sequence[Event]]:
        """Fetch a ticket, which has its messages in it."""
        return ticket_events((yield from _fetch(ticket)))

    def changes(self, config: Config, since: datetime, cursor: str | None) -> Steps[Changes]:
        """Read a page of tickets, those that changed last first, and fetch each for its messages.

        There is no filter by time, so that the pages go back from now until they are older than `since`. Within a page
        the oldest comes first. What changes meanwhile comes to the front, where the next walk finds it.
        """
        query = [("limit", str(PAGE)), ("order_by", "updated_datetime:desc")]
        page = object_in(
            (
                yield Call(
                    "GET", "/api/tickets", query=[*query, ("cursor", cursor)] if cursor else query, repeatable=True
                )
            )
        )
        listed = [object_of(each) for each in list_of(page.get("data"))]
        fresh = [each for each in listed if (time_of(each.get("updated_datetime")) or since) >= since]
        events: list[Event] = []
        for each in reversed(fresh):
            try:
                events += yield from self.ticket(config, text_of(each.get("id")))
            except ApiError as error:
                # What was deleted since has nothing to say.
                if error.reason != "TICKET_NOT_FOUND":
                    raise
        following = text_of(object_of(page.get("meta")).get("next_cursor"))
        return Changes(events, following if following and listed and len(fresh) == len(listed) else None)

    def write(self, config: Config, ticket: str, change: Change) -> Steps[bool]:
        """Make a change, after looking whether it is there."""
        found = yield from _fetch(ticket)
        path = f"/api/tickets/{text_of(found.get('id'))}"
        if isinstance(change, SetPriority):
            return (yield from _set_priority(path, found, change.priority))
        if isinstance(change, AddTags):
            missing = [tag for tag in change.tags if tag not in _tags(found)]
            if missing:
                yield Call("POST", f"{path}/tags", json={"names": missing}, repeatable=True)
            return bool(missing)
        if any(_has_marker(object_of(message), change.marker) for message in list_of(found.get("messages"))):
            return False
        body = _note(config, change) if isinstance(change, AddNote) else _reply(config, found, change)
        yield Call("POST", f"{path}/messages", json=body)
        return True

    def pace(self, reply: Reply) -> Pace | None:
        """Read `10/80`: so many calls of the bucket's are used."""
        used, slash, most = reply.headers.get(_LIMIT_HEADER, "").partition("/")
        if not slash or not used.strip().isdecimal() or not most.strip().isdecimal():
            return None
        return Pace(max(0, int(most) - int(used)), _LIMIT_SECONDS)


def ticket_events(ticket: Mapping[str, Any]) -> Sequence[Event]:
    """Return a ticket as it stands.

    Raises:
        ApiError: it has no id or no time (`ANSWER_NOT_UNDERSTOOD`).
    """
    number = text_of(ticket.get("id"), MOST_ID)
    changed = time_of(ticket.get("updated_datetime")) or time_of(ticket.get("created_datetime"))
    if not number or changed is None:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the ticket has no id or no time")
    ended = ticket.get("spam") is True or bool(ticket.get("trashed_datetime"))
    status = text_of(ticket.get("status"))
    snoozed = status == "closed" and bool(ticket.get("snooze_datetime"))
    fields = Fields(
        customer_id=text_of(object_of(ticket.get("customer")).get("id"), MOST_ID) or None,
        subject=text_of(ticket.get("subject"), MOST_SUBJECT) or None,
        channel=_CHANNELS.get(text_of(ticket.get("channel")).lower()),
        status="pending" if snoozed and not ended else "closed" if ended or status == "closed" else "open",
        priority=_PRIORITIES.get(text_of(ticket.get("priority")).lower()),
        tags=_tags(ticket)[:MOST_TAGS] if isinstance(ticket.get("tags"), list) else None,
        created=time_of(ticket.get("created_datetime")),
    )
    messages = (_message(object_of(message)) for message in list_of(ticket.get("messages")))
    told = snapshot(number, changed, fields, (message for message in messages if message.key))
    return requester("gorgias", told, email=text_of(object_of(ticket.get("customer")).get("email"), MOST_EMAIL))


def _renew(client: str, credentials: Credentials) -> Steps[Renewed]:
    reply = yield Call(
        "POST",
        "/oauth/token",
        headers=basic(client, credentials["client_secret"]),
        form=(("grant_type", "refresh_token"), ("refresh_token", credentials["refresh_token"])),
        expects=_SPOILED,
    )
    if reply.status in _SPOILED:
        raise ApiError("CREDENTIALS_REFUSED", "the refresh token or the app's secret is not accepted any more")
    answer = object_in(reply)
    tokens = {name: text_of(answer.get(name)) for name in ("access_token", "refresh_token")}
    lifetime = answer.get("expires_in")
    if not tokens["access_token"]:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "there is no access token in the answer")
    return Renewed(
        {name: text for name, text in tokens.items() if text}, lifetime if isinstance(lifetime, int) else None
    )


def _fetch(ticket: str) -> Steps[Mapping[str, Any]]:
    if not (ticket.isascii() and ticket.isdecimal()):
        raise ApiError("TICKET_NOT_FOUND")
    reply = yield Call("GET", f"/api/tickets/{ticket}", expects=_NO_TICKET, repeatable=True)
    if reply.status in _NO_TICKET:
        raise ApiError("TICKET_NOT_FOUND")
    return object_in(reply)


def _set_priority(path: str, ticket: Mapping[str, Any], priority: Priority) -> Steps[bool]:
    if _PRIORITIES.get(text_of(ticket.get("priority")).lower()) == priority:
        return False
    for word in [word for word, meaning in _PRIORITIES.items() if meaning == priority]:
        reply = yield Call("PUT", path, json={"priority": word}, expects=_REFUSED, repeatable=True)
        # What is not one of the account's words is refused or ignored: only reading it back tells.
        if reply.status not in _REFUSED and text_of(object_in(reply).get("priority")).lower() == word:
            return True
    raise ApiError("PRIORITY_NOT_TAKEN", "the account has no such priority")


def _tags(ticket: Mapping[str, Any]) -> tuple[str, ...]:
    names = dict.fromkeys(text_of(object_of(tag).get("name"), MOST_ID) for tag in list_of(ticket.get("tags")))
    names.pop("", None)
    return tuple(names)


def _message(message: Mapping[str, Any]) -> Message:
    sender = object_of(message.get("sender"))
    text = text_of(message.get("body_text")).strip() or text_of_html(text_of(message.get("body_html")))
    return Message(
        key=text_of(message.get("id"), MOST_ID),
        content=text[:MOST_CONTENT],
        from_agent=message.get("from_agent") is True,
        internal=text_of(message.get("channel")) == "internal-note" or message.get("public") is False,
        author_name=text_of(sender.get("name"), MOST_NAME),
        author_email=text_of(sender.get("email"), MOST_EMAIL),
        created=time_of(message.get("created_datetime")),
    )


def _has_marker(message: Mapping[str, Any], marker: str) -> bool:
    return text_of(message.get("external_id")) == marker or marker in text_of(message.get("body_text"))


def _note(config: Config, change: AddNote) -> dict[str, Any]:
    text = change.text if change.marker in change.text else f"{change.text}\n\n{change.marker}"
    return {
        "channel": "internal-note",
        "via": "api",
        "from_agent": True,
        "sender": {"email": setting(config, "email")},
        "body_text": text,
        "body_html": html_of_text(text),
        "external_id": change.marker[:MOST_ID],
    }


def _reply(config: Config, ticket: Mapping[str, Any], change: SendReply) -> dict[str, Any]:
    """Return an answer by e-mail to the customer's last message, from the address that it was sent to.

    Raises:
        ApiError: no message of the customer's tells both addresses (`REPLY_NOT_POSSIBLE`).
    """
    for message in reversed([object_of(each) for each in list_of(ticket.get("messages"))]):
        source = object_of(message.get("source"))
        ours = text_of(object_of(next(iter(list_of(source.get("to"))), None)).get("address"))
        theirs = text_of(object_of(source.get("from")).get("address"))
        if message.get("from_agent") is False and text_of(message.get("channel")) in _MAIL and ours and theirs:
            return {
                "channel": "email",
                "via": "api",
                "from_agent": True,
                "sender": {"email": setting(config, "email")},
                "receiver": {"email": theirs},
                "source": {"type": "email", "from": {"address": ours}, "to": [{"address": theirs}]},
                "subject": f"Re: {text_of(ticket.get('subject'), MOST_SUBJECT)}",
                "body_text": change.text,
                "body_html": html_of_text(change.text),
                "external_id": change.marker[:MOST_ID],
            }
    raise ApiError("REPLY_NOT_POSSIBLE", "the ticket has no message by e-mail that could be answered")


GORGIAS_API = GorgiasApi()
"""The one instance."""
