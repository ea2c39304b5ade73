"""Salesforce's cases in our words. Status and priority are the organisation's own words; the usual ones are known."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from services.crm.events import Channel, Event, Fields, Message, Priority, Status
from services.crm.providers.api import ApiError
from services.crm.providers.markup import text_of_html
from services.crm.providers.signatures import object_of, text_of, time_of
from services.crm.providers.snapshots import (
    MOST_CONTENT,
    MOST_EMAIL,
    MOST_ID,
    MOST_NAME,
    MOST_SUBJECT,
    requester,
    snapshot,
)

_PRIORITIES: Mapping[str, Priority] = MappingProxyType(
    {"critical": "urgent", "urgent": "urgent", "high": "high", "medium": "normal", "normal": "normal", "low": "low"}
)
_CHANNELS: Mapping[str, Channel] = MappingProxyType(
    {"email": "email", "phone": "phone", "web": "form", "chat": "chat", "messaging": "chat", "sms": "sms"}
)
_WAITING = ("wait", "hold", "pending")
# All other types of users are the customers of portals.
_STAFF = frozenset({"Standard", "AutomatedProcess", "CloudIntegrationUser", ""})


def case_events(
    case: Mapping[str, Any], comments: Sequence[Mapping[str, Any]], mails: Sequence[Mapping[str, Any]]
) -> Sequence[Event]:
    """Return a case as it stands, with its comments and e-mails.

    Raises:
        ApiError: it has no id or no time (`ANSWER_NOT_UNDERSTOOD`).
    """
    number, changed = text_of(case.get("Id")), time_of(case.get("SystemModstamp"))
    if not number or changed is None:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "the case has no id or no time")
    created = time_of(case.get("CreatedDate"))
    email = text_of(case.get("SuppliedEmail"), MOST_EMAIL)
    fields = Fields(
        customer_id=text_of(case.get("ContactId")) or email[:MOST_ID] or None,
        subject=text_of(case.get("Subject"), MOST_SUBJECT) or None,
        channel=_CHANNELS.get(text_of(case.get("Origin")).lower()),
        status=_status(case),
        priority=_PRIORITIES.get(text_of(case.get("Priority")).lower()),
        created=created,
    )
    first = Message(
        key="description",
        content=text_of(case.get("Description"), MOST_CONTENT),
        from_agent=False,
        author_name=text_of(case.get("SuppliedName"), MOST_NAME),
        author_email=email,
        created=created,
    )
    received = [_mail(mail) for mail in mails]
    said = [message for message in (*map(_comment, comments), *received) if message.key]
    said.sort(key=lambda message: message.created or changed)
    # A case that came by e-mail has its first message twice: as its description and as the e-mail.
    twice = any(message.content.strip() == first.content.strip() for message in received)
    told = snapshot(number, changed, fields, said if twice else [first, *said])
    # The address was typed into a form: it says who asks only where it is all that is known of them.
    return requester("salesforce", told, email="" if case.get("ContactId") else email, own_id=False)


def _status(case: Mapping[str, Any]) -> Status:
    if case.get("IsClosed") is True:
        return "closed"
    status = text_of(case.get("Status")).lower()
    return "pending" if any(part in status for part in _WAITING) else "open"


def _comment(comment: Mapping[str, Any]) -> Message:
    author = object_of(comment.get("CreatedBy"))
    return Message(
        key=text_of(comment.get("Id"), MOST_ID),
        content=text_of(comment.get("CommentBody"), MOST_CONTENT),
        from_agent=text_of(author.get("UserType")) in _STAFF,
        internal=comment.get("IsPublished") is not True,
        author_name=text_of(author.get("Name"), MOST_NAME),
        created=time_of(comment.get("CreatedDate")),
    )


def _mail(mail: Mapping[str, Any]) -> Message:
    text = text_of(mail.get("TextBody")).strip() or text_of_html(text_of(mail.get("HtmlBody")))
    return Message(
        key=text_of(mail.get("Id"), MOST_ID),
        content=text[:MOST_CONTENT],
        from_agent=mail.get("Incoming") is not True,
        author_name=text_of(mail.get("FromName"), MOST_NAME),
        author_email=text_of(mail.get("FromAddress"), MOST_EMAIL),
        created=time_of(mail.get("MessageDate")),
    )
