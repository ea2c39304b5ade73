"""Salesforce: outbound messages of workflow rules and flows, in SOAP. The token in the address is all their proof.

A message names its organisation, which has to be the connection's, and up to 100 records that changed; each is a
delivery of its own. The case is fetched back before anything is believed.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType

from services.crm.events import Event
from services.crm.providers.address_token import by_address
from services.crm.providers.api import Api
from services.crm.providers.provider import (
    MOST_PARTS,
    Answer,
    NotUnderstoodError,
    Part,
    Proof,
    Request,
    Setting,
    Verdict,
    WebhookSecret,
)
from services.crm.providers.salesforce_api import SALESFORCE_API
from services.crm.providers.salesforce_ids import PLAIN, full_id
from services.crm.providers.salesforce_soap import ACK, ForbiddenXmlError, Notification, Notifications, kept, read

CASE = "500"
"""How the id of a case begins."""

_MOST_ID = 255
_MOST_GROWTH = 2
"""How many times longer than a message its parts together may be, apart from an envelope for each."""

_ENVELOPE = 1024
_FORBIDDEN = Verdict.refused(
    "xml_forbidden", rule="no document type, no entities, no deep nesting in XML, nor too much of it"
)
_TOO_MANY = Verdict.refused("too_many_notifications", rule=f"at most {MOST_PARTS} notifications in a message")
_PARENTS = frozenset({"CaseComment", "EmailMessage"})


class Salesforce:
    """Salesforce's Service Cloud."""

    name = "salesforce"
    proof = Proof.ADDRESS
    app_level = False
    account_setting = "org_id"
    settings: Mapping[str, Setting] = MappingProxyType(
        {
            "org_id": Setting(
                re.compile(r"00D[A-Za-z0-9]{12}(?:[A-Za-z0-9]{3})?", re.ASCII),
                "the organisation's id: 15 or 18 letters and digits that begin with 00D",
            ),
            "instance_url": Setting(
                re.compile(
                    r"https://(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,5}(?:salesforce|force)\.com", re.ASCII
                ),
                "the organisation's own address, https://….my.salesforce.com, without a path",
            ),
            "client_id": Setting(re.compile(r"[!-9;-~]{1,255}", re.ASCII), "the connected app's consumer key"),
            "username": Setting(re.compile(r"[!-~]{1,80}@[!-~]{1,80}", re.ASCII), "the user that JWT logs in as"),
            "audience": Setting(
                re.compile(r"(?:login|test)\.salesforce\.com", re.ASCII),
                "login.salesforce.com, or test.salesforce.com for a sandbox",
            ),
        }
    )
    credentials = frozenset({"client_secret", "refresh_token", "access_token", "private_key"})
    public_secrets: frozenset[str] = frozenset()
    secret_form: Setting | None = None
    kept_headers = frozenset({"content-type"})
    # Tries again for 24 hours, at most two hours apart.
    retry_horizon = timedelta(days=2)
    api: Api | None = SALESFORCE_API

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], _now: datetime) -> Verdict:
        """Compare the token in the address with every active one, then refuse XML that no outbound message is."""
        verdict = by_address(request, secrets)
        if not verdict.accepted:
            return verdict
        message = request.read(_read)
        if isinstance(message, ForbiddenXmlError):
            return _FORBIDDEN
        if message is not None and len(message.notifications) > MOST_PARTS:
            return _TOO_MANY
        return verdict

    def handshake(self, _request: Request) -> Answer | None:
        """Salesforce has no handshake."""
        return None

    def pings(self, _request: Request) -> bool:
        """Salesforce sends no tests."""
        return False

    def parts(self, request: Request) -> Sequence[Part]:
        """Name the organisation, and each notification with its case.

        Of a body that is no message nothing is kept, since a session's id could be anywhere in it; nor of one that
        would be much longer written anew, which nothing that Salesforce writes is.
        """
        message = _message(request)
        whole = ("body", sha256(request.body).hexdigest())
        if message is None or not message.notifications:
            return (_part(message.organization if message else "", whole, None, b""),)
        bodies = [kept(message, each) for each in message.notifications[:MOST_PARTS]]
        if sum(map(len, bodies)) > _MOST_GROWTH * len(request.body) + len(bodies) * _ENVELOPE:
            return (_part(message.organization, whole, None, b""),)
        return [
            _part(
                message.organization,
                ("notification", each.id[:_MOST_ID]) if each.id else ("record", sha256(body).hexdigest()),
                _case_of(each),
                body,
            )
            for each, body in zip(message.notifications, bodies, strict=False)
        ]

    def acknowledge(self, _request: Request) -> Answer:
        """Answer with the envelope that says so; a plain 200 counts as a failure."""
        return Answer("text/xml; charset=utf-8", ACK)

    def events(self, _request: Request, _received: datetime) -> Sequence[Event]:
        """Return nothing: an unsigned body is not believed."""
        return ()

    def hint(self, request: Request) -> str | None:
        """Name the case to be fetched; None for records that belong to none.

        Raises:
            NotUnderstoodError: the body is no outbound message, or a case's has no id.
        """
        message = _message(request)
        if message is None or not message.notifications:
            raise NotUnderstoodError("BODY_NOT_AN_OUTBOUND_MESSAGE")
        notification = message.notifications[0]
        case = _case_of(notification)
        if case is None and (notification.kind == "Case" or not notification.kind):
            raise NotUnderstoodError("TICKET_ID_MISSING")
        return case


def _read(body: bytes) -> Notifications | ForbiddenXmlError | None:
    try:
        return read(body)
    except ForbiddenXmlError as error:
        return error


def _message(request: Request) -> Notifications | None:
    message = request.read(_read)
    return None if isinstance(message, ForbiddenXmlError) else message


def _part(organization: str, delivery: tuple[str, ...], case: str | None, body: bytes) -> Part:
    """Return a part; the organisation is named in both spellings of its id, of which the shop may have set either."""
    found = full_id(organization)
    spellings = (found[:PLAIN],) if found else ()
    return Part((found or organization,), delivery, case, body, spellings)


def _case_of(notification: Notification) -> str | None:
    """Return the case that a record is, or belongs to."""
    if notification.kind == "Case":
        return full_id(notification.fields.get("Id", ""), CASE)
    if notification.kind in _PARENTS:
        return full_id(notification.fields.get("ParentId", ""), CASE)
    return None


SALESFORCE = Salesforce()
"""The one instance."""
