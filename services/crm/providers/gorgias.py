"""Gorgias: HTTP integrations, which sign nothing. They send a header of ours, and a body that is our own template.

The template (docs/unsigned-providers.md) has the ticket's id and the account; nothing else in it is used, since the
ticket is fetched back before anything is believed.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from services.crm.events import Event
from services.crm.providers.api import Api
from services.crm.providers.gorgias_api import GORGIAS_API
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
from services.crm.providers.shared_token import by_header, dated_body
from services.crm.providers.signatures import json_object, text_of

_TICKET = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_HOST = ".gorgias.com"


class Gorgias:
    """Gorgias' helpdesk."""

    name = "gorgias"
    proof = Proof.SHARED_TOKEN
    app_level = False
    account_setting = "domain"
    settings: Mapping[str, Setting] = MappingProxyType(
        {
            "domain": Setting(
                re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII),
                "the part before .gorgias.com: lower-case letters, digits and inner hyphens, at most 63 characters",
            ),
            "email": Setting(
                re.compile(r"[^@\s:]{1,64}@[^@\s:]{1,255}"),
                "the e-mail address of the user that the API key belongs to",
            ),
            "client_id": Setting(re.compile(r"[!-9;-~]{1,255}", re.ASCII), "the OAuth app's client id"),
        }
    )
    credentials = frozenset({"api_key", "client_secret", "access_token", "refresh_token"})
    public_secrets: frozenset[str] = frozenset()
    secret_form: Setting | None = None
    kept_headers = frozenset({"content-type"})
    # Sources conflict on how often Gorgias tries again, but not that it is over within minutes; a day is on the safe
    # side.
    retry_horizon = timedelta(days=1)
    api: Api | None = GORGIAS_API

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], _now: datetime) -> Verdict:
        """Compare the token in the header with every active secret."""
        return by_header(request, secrets)

    def handshake(self, _request: Request) -> Answer | None:
        """Gorgias has no handshake."""
        return None

    def pings(self, _request: Request) -> bool:
        """Gorgias sends no tests."""
        return False

    def parts(self, request: Request) -> Sequence[Part]:
        """Name the account that the template names, and the ticket; with a time in it the body is the delivery."""
        body = request.read(json_object) or {}
        account = text_of(body.get("account")).lower().removesuffix(_HOST)
        return (Part((account,) if account else (), dated_body(request, body), _ticket_of(body)),)

    def acknowledge(self, _request: Request) -> Answer:
        """Gorgias reads only the status."""
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
        ticket = _ticket_of(body)
        if ticket is None:
            raise NotUnderstoodError("TICKET_ID_MISSING")
        return ticket


def _ticket_of(body: Mapping[str, object]) -> str | None:
    """Return the ticket's id: of the template, or of a body that holds the whole ticket."""
    whole = body.get("ticket")
    found = text_of(body.get("ticket_id")) or text_of(whole.get("id") if isinstance(whole, dict) else None)
    return found if _TICKET.fullmatch(found) else None


GORGIAS = Gorgias()
"""The one instance."""
