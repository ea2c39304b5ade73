"""Helpshift: webhooks that are not signed and carry no header of ours. The token in the address is all their proof.

The body names its domain, which has to be the connection's; the issue is fetched back before anything is believed.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType

from services.crm.events import Event
from services.crm.providers.address_token import by_address
from services.crm.providers.api import Api
from services.crm.providers.helpshift_api import HELPSHIFT_API
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
from services.crm.providers.signatures import json_object, object_of, text_of

_ISSUE = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)


class Helpshift:
    """Helpshift's support for apps."""

    name = "helpshift"
    proof = Proof.ADDRESS
    app_level = False
    account_setting = "domain"
    settings: Mapping[str, Setting] = MappingProxyType(
        {
            "domain": Setting(
                re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII),
                "the part before .helpshift.com: lower-case letters, digits and inner hyphens, at most 63 characters",
            ),
        }
    )
    credentials = frozenset({"api_key"})
    public_secrets: frozenset[str] = frozenset()
    secret_form: Setting | None = None
    kept_headers = frozenset({"content-type"})
    # How often Helpshift tries again is documented nowhere.
    retry_horizon = timedelta(days=2)
    api: Api | None = HELPSHIFT_API

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], _now: datetime) -> Verdict:
        """Compare the token in the address with every active one."""
        return by_address(request, secrets)

    def handshake(self, _request: Request) -> Answer | None:
        """Helpshift has no handshake."""
        return None

    def pings(self, _request: Request) -> bool:
        """Helpshift sends no tests."""
        return False

    def parts(self, request: Request) -> Sequence[Part]:
        """Name the domain, the event (with its type, issue and time, since ids are used again) and the issue."""
        body = request.read(json_object) or {}
        data = object_of(body.get("data"))
        accounts = [text_of(body.get("domain"))]
        if "domain" in data:
            accounts.append(text_of(data["domain"]))
        event, issue = text_of(body.get("event_id")), text_of(data.get("id"))
        delivery: tuple[str, ...] = ("body", sha256(request.body).hexdigest())
        if event and issue:
            delivery = ("event", text_of(body.get("event_type")), issue, event, text_of(body.get("event_timestamp")))
        return (Part(tuple(accounts), delivery, issue if _ISSUE.fullmatch(issue) else None),)

    def acknowledge(self, _request: Request) -> Answer:
        """Helpshift reads only the status."""
        return ACCEPTED

    def events(self, _request: Request, _received: datetime) -> Sequence[Event]:
        """Return nothing: an unsigned body is not believed."""
        return ()

    def hint(self, request: Request) -> str | None:
        """Name the issue to be fetched.

        Raises:
            NotUnderstoodError: the body is no JSON object, is about something else, or names no issue.
        """
        body = request.read(json_object)
        if body is None:
            raise NotUnderstoodError("BODY_NOT_A_JSON_OBJECT")
        if not text_of(body.get("event_type")).endswith("_issue"):
            raise NotUnderstoodError("EVENT_TYPE_UNKNOWN")
        issue = text_of(object_of(body.get("data")).get("id"))
        if not _ISSUE.fullmatch(issue):
            raise NotUnderstoodError("TICKET_ID_MISSING")
        return issue


HELPSHIFT = Helpshift()
"""The one instance."""
