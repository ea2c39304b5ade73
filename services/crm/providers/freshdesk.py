"""Freshdesk: webhooks of automation rules, which sign nothing. They send a header of ours, or HTTP Basic.

A rule's body is either the vendor's simple form, `{"freshdesk_webhook": {"ticket_id": …}}`, or the shop's own JSON with
`ticket_id`. Which account it is shows only in the host of the ticket's address. The ticket is fetched back before
anything is believed.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from services.crm.events import Event
from services.crm.providers.api import Api
from services.crm.providers.freshdesk_api import FRESHDESK_API
from services.crm.providers.provider import (
    ACCEPTED,
    Answer,
    NotUnderstoodError,
    Part,
    Proof,
    Request,
    Setting,
    Verdict,
    WebhookSecret,
)
from services.crm.providers.shared_token import by_header_or_basic, dated_body
from services.crm.providers.signatures import json_object, object_of, text_of

_TICKET = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_PREFIXES = re.compile(r"(?:INC|SR|#)-?", re.ASCII)
_HOST = ".freshdesk.com"


class Freshdesk:
    """Freshworks' Freshdesk."""

    name = "freshdesk"
    proof = Proof.SHARED_TOKEN
    app_level = False
    account_setting = "domain"
    settings: Mapping[str, Setting] = MappingProxyType(
        {
            "domain": Setting(
                re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII),
                "the part before .freshdesk.com: lower-case letters, digits and inner hyphens, at most 63 characters",
            ),
        }
    )
    credentials = frozenset({"api_key"})
    public_secrets: frozenset[str] = frozenset()
    secret_form: Setting | None = None
    kept_headers = frozenset({"content-type"})
    # Tries again after 5, 30 and 60 minutes; what is over the limit of an hour waits at most a day.
    retry_horizon = timedelta(days=2)
    api: Api | None = FRESHDESK_API

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], _now: datetime) -> Verdict:
        """Compare the token in the header, or the Basic password, with every active secret."""
        return by_header_or_basic(request, secrets)

    def handshake(self, _request: Request) -> Answer | None:
        """Freshdesk has no handshake."""
        return None

    def pings(self, _request: Request) -> bool:
        """Freshdesk sends no tests."""
        return False

    def parts(self, request: Request) -> Sequence[Part]:
        """Name the account by the host of the ticket's address, and the ticket; a body with a time is the delivery."""
        body = request.read(json_object) or {}
        fields = _fields(body)
        account = _account_of(text_of(fields.get("ticket_url")))
        return (Part((account,) if account else (), dated_body(request, fields), _ticket_of(fields)),)

    def acknowledge(self, _request: Request) -> Answer:
        """Freshdesk reads only the status."""
        return ACCEPTED

    def events(self, _request: Request, _received: datetime) -> Sequence[Event]:
        """Return nothing: an unsigned body is not believed."""
        return ()

    def hint(self, request: Request) -> str | None:
        """Name the ticket to be fetched.

        Raises:
            NotUnderstoodError: the body is no JSON object, or names no ticket.
        """
        body = request.read(json_object)
        if body is None:
            raise NotUnderstoodError("BODY_NOT_A_JSON_OBJECT")
        ticket = _ticket_of(_fields(body))
        if ticket is None:
            raise NotUnderstoodError("TICKET_ID_MISSING")
        return ticket


def _fields(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of the simple form, or of the shop's own."""
    return object_of(body.get("freshdesk_webhook")) or body


def _ticket_of(fields: Mapping[str, Any]) -> str | None:
    found = _PREFIXES.sub("", text_of(fields.get("ticket_id")).strip(), count=1)
    return found if _TICKET.fullmatch(found) else None


def _account_of(address: str) -> str:
    """Return the account in a ticket's address, the whole host where it is none of the vendor's; empty without one."""
    if not address:
        return ""
    try:
        host = (urlsplit(address if "//" in address else f"//{address}").hostname or address).lower()
    except ValueError:
        return address
    return host.removesuffix(_HOST)


FRESHDESK = Freshdesk()
"""The one instance."""
