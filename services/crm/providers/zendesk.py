"""Zendesk: signed webhooks of event subscriptions, and triggers whose body is whatever the shop wrote.

The signature is base64(HMAC-SHA256(secret, timestamp + raw body)); the key is the secret's text as given, although it
looks like base64. Between timestamp and body there is no separator, so the timestamp is parsed strictly: a byte that
moves from one to the other makes it malformed.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from services.crm.events import TicketEvent
from services.crm.providers.api import Api
from services.crm.providers.provider import (
    ACCEPTED,
    STALE,
    Answer,
    NotUnderstoodError,
    Part,
    Proof,
    Request,
    Setting,
    Verdict,
    WebhookSecret,
)
from services.crm.providers.signatures import base64_of, claimed_bytes, json_object, proving, text_of
from services.crm.providers.zendesk_api import ZENDESK_API
from services.crm.providers.zendesk_events import ticket_events

SIGNATURE = "x-zendesk-webhook-signature"
TIMESTAMP = "x-zendesk-webhook-signature-timestamp"
INVOCATION = "x-zendesk-webhook-invocation-id"
ACCOUNT = "x-zendesk-account-id"

TOLERANCE = timedelta(minutes=5)
"""How far a signature's time may be from ours, both ways. The vendor names no figure; its retries need this much."""

PUBLIC_TEST_SECRET = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ=="  # noqa: S105 - printed in the vendor's documentation
"""What Zendesk signs test calls with before a webhook exists."""

_ISO_8601 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z", re.ASCII)
_MAX_ID = 255
_SIGNED = "timestamp + body"
_RULE = "HMAC-SHA256 of timestamp and body in base64, at most five minutes from now"


def signature(secret: str, timestamp: str, body: bytes) -> bytes:
    """Return the base64 signature that Zendesk sends for these bytes."""
    return base64_of(hmac.digest(secret.encode(), timestamp.encode("utf-8", "replace") + body, "sha256"))


def parse_timestamp(text: str) -> datetime | None:
    """Return the time of a signature header, `2021-03-25T05:09:27Z` with or without a fraction; None for all else."""
    if not _ISO_8601.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


class Zendesk:
    """Zendesk Support."""

    name = "zendesk"
    proof = Proof.SIGNATURE
    app_level = False
    account_setting = "account_id"
    settings: Mapping[str, Setting] = MappingProxyType(
        {
            "subdomain": Setting(
                re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII),
                "the part before .zendesk.com: lower-case letters, digits and inner hyphens, at most 63 characters",
            ),
            "account_id": Setting(re.compile(r"[0-9]{1,20}", re.ASCII), "the account's number"),
            "email": Setting(
                re.compile(r"[^@\s:]{1,64}@[^@\s:]{1,255}"), "the e-mail address that the API token belongs to"
            ),
            "client_id": Setting(re.compile(r"[A-Za-z0-9_.-]{1,255}", re.ASCII), "the OAuth client's identifier"),
        }
    )
    credentials = frozenset({"api_token", "client_secret", "refresh_token", "access_token"})
    public_secrets = frozenset({PUBLIC_TEST_SECRET})
    secret_form: Setting | None = None
    kept_headers = frozenset({SIGNATURE, TIMESTAMP, INVOCATION, ACCOUNT, "x-zendesk-webhook-id", "content-type"})
    # Three retries within minutes and an activity log of seven days, from which a person may repeat an invocation.
    retry_horizon = timedelta(days=7)
    api: Api | None = ZENDESK_API

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], now: datetime) -> Verdict:
        """Check the signature with every active secret, then the age of its time."""
        claimed = claimed_bytes(request, SIGNATURE)
        timestamp = request.header(TIMESTAMP)
        if claimed is None or timestamp is None:
            return Verdict.refused("header_missing_or_repeated", signed=_SIGNED, rule=_RULE)
        time = parse_timestamp(timestamp)
        if time is None:
            return Verdict.refused("timestamp_malformed", signed=_SIGNED, rule=_RULE)
        proof = proving(secrets, claimed, lambda text: signature(text, timestamp, request.body))
        if proof is None:
            return Verdict.refused("signature_mismatch", signed=_SIGNED, rule=_RULE)
        if abs(now - time) > TOLERANCE:
            return Verdict.refused(STALE, signed=_SIGNED, rule=_RULE)
        return Verdict.verified_by(proof, signed=_SIGNED, rule=_RULE)

    def handshake(self, _request: Request) -> Answer | None:
        """Zendesk has no handshake."""
        return None

    def pings(self, _request: Request) -> bool:
        """Zendesk's test calls are deliveries like all others."""
        return False

    def parts(self, request: Request) -> Sequence[Part]:
        """Name the account, the delivery (body `id` of event subscriptions, else the invocation) and the ticket."""
        body = request.read(json_object) or {}
        header = request.header(ACCOUNT)
        accounts = tuple(account for account in (text_of(body.get("account_id")), header or "") if account)
        detail = body.get("detail")
        ticket = ""
        if _is_event(body) and isinstance(detail, dict) and text_of(body.get("type")).startswith(_TICKET_TYPE):
            ticket = text_of(detail.get("id"))
        return (Part(accounts, _delivery_of(request, body), ticket[:_MAX_ID] or None),)

    def acknowledge(self, _request: Request) -> Answer:
        """Zendesk reads only the status."""
        return ACCEPTED

    def events(self, request: Request, received: datetime) -> Sequence[TicketEvent]:
        """Turn an event of a subscription into ours.

        Raises:
            NotUnderstoodError: the body is no JSON object, has no event type (a trigger's template) or no ticket.
        """
        body = request.read(json_object)
        if body is None:
            raise NotUnderstoodError("BODY_NOT_A_JSON_OBJECT")
        kind = text_of(body.get("type"))
        if not kind:
            raise NotUnderstoodError("EVENT_TYPE_MISSING")
        if not kind.startswith(_EVENT_TYPE):
            raise NotUnderstoodError("EVENT_TYPE_UNKNOWN")
        if not kind.startswith(_TICKET_TYPE):
            return ()
        key = "/".join(_delivery_of(request, body))
        return ticket_events(kind.removeprefix(_TICKET_TYPE), body, key=key, received=received.astimezone(UTC))

    def hint(self, _request: Request) -> str | None:
        """What Zendesk signs is believed."""
        return None


_EVENT_TYPE = "zen:event-type:"
_TICKET_TYPE = "zen:event-type:ticket."


def _is_event(body: Mapping[str, Any]) -> bool:
    """Return whether the body is one of an event subscription, whose fields are Zendesk's and not a shop's template."""
    return text_of(body.get("type")).startswith(_EVENT_TYPE)


def _delivery_of(request: Request, body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what identifies the delivery; without any id the signed bytes themselves do."""
    if _is_event(body) and (event := text_of(body.get("id"))):
        return ("event", event)
    if invocation := request.header(INVOCATION):
        return ("invocation", invocation)
    return ("signature", request.header(SIGNATURE) or "")


ZENDESK = Zendesk()
"""The one instance."""
