"""HubSpot: webhooks signed with the secret of an app, whose body is a list of events of any of its portals.

Version 3 signs method, address, body and time by an HMAC; versions 2 and 1 are plain hashes of the secret with what
follows it. When a request has a header of version 3, only version 3 counts, whatever else it has.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import orjson

from services.crm.events import Event
from services.crm.providers.api import Api
from services.crm.providers.hubspot_api import HUBSPOT_API
from services.crm.providers.hubspot_events import change_event, is_about_tickets, is_deletion, ticket_of
from services.crm.providers.provider import (
    ACCEPTED,
    MOST_PARTS,
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
from services.crm.providers.signatures import base64_of, claimed_bytes, hex_of, json_value, proving, text_of

SIGNATURE_V3 = "x-hubspot-signature-v3"
TIMESTAMP = "x-hubspot-request-timestamp"
SIGNATURE = "x-hubspot-signature"
VERSION = "x-hubspot-signature-version"

TOLERANCE = timedelta(minutes=5)
"""How far the signed time may be from ours, both ways; the vendor's figure."""

_MILLISECONDS = re.compile(r"[0-9]{13}", re.ASCII)
_ESCAPE = re.compile(r"%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
"""The escapes that HubSpot decodes in the address before it signs; all others stay as they are."""

_SIGNED = MappingProxyType({"v3": "method + url + body + timestamp", "v2": "method + url + body", "v1": "body"})
_DIGEST_BLOCK, _DIGEST_LENGTH = 64, 8


def decoded_url(url: str) -> str:
    """Return the address as version 3 signs it."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), url)


def signature_v3(secret: str, method: str, url: str, body: bytes, timestamp: str) -> bytes:
    """Return the signature of version 3."""
    signed = _bytes(method + decoded_url(url)) + body + timestamp.encode()
    return base64_of(hmac.digest(secret.encode(), signed, "sha256"))


def signature_by_hash(secret: str, lead: bytes, body: bytes) -> bytes:
    """Return the signature of version 1, and with method and address as `lead` that of version 2."""
    return hex_of(sha256(secret.encode() + lead + body).digest())


class HubSpot:
    """HubSpot's service hub: tickets."""

    name = "hubspot"
    proof = Proof.SIGNATURE
    app_level = True
    account_setting = "portal_id"
    settings: Mapping[str, Setting] = MappingProxyType(
        {
            "portal_id": Setting(re.compile(r"[0-9]{1,20}", re.ASCII), "the account's number"),
            "client_id": Setting(re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII), "the id of the app that OAuth was for"),
        }
    )
    credentials = frozenset({"private_app_token", "client_secret", "refresh_token", "access_token"})
    public_secrets: frozenset[str] = frozenset()
    secret_form: Setting | None = None
    kept_headers = frozenset({SIGNATURE_V3, TIMESTAMP, SIGNATURE, VERSION, "content-type"})
    # Ten retries, which newer documentation spreads over 24 hours.
    retry_horizon = timedelta(days=3)
    api: Api | None = HUBSPOT_API

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], now: datetime) -> Verdict:
        """Judge by version 3 if the request has its header, by the version that it names otherwise."""
        if any(name == SIGNATURE_V3 for name, _ in request.headers):
            return _by_v3(request, secrets, now)
        version = request.header(VERSION)
        claimed = claimed_bytes(request, SIGNATURE)
        if claimed is None or version is None:
            return Verdict.refused("header_missing_or_repeated")
        if version not in ("v1", "v2"):
            return Verdict.refused("signature_version_unknown")
        return _by_hash(request, secrets, claimed, version)

    def handshake(self, _request: Request) -> Answer | None:
        """HubSpot has no handshake."""
        return None

    def pings(self, _request: Request) -> bool:
        """HubSpot's tests are events like all others."""
        return False

    def parts(self, request: Request) -> Sequence[Part]:
        """Split the list: each event is a delivery of its own portal.

        The app's secret signs for every portal: of an app, an event that names none is nobody's.
        """
        events = request.read(_events_of)
        if 0 < len(events) <= MOST_PARTS:
            with suppress(orjson.JSONEncodeError):  # Nested deeper than it can be written: kept as it came.
                return tuple(_part(event) for event in events)
        return (Part(_portals(events), ("body", sha256(request.body).hexdigest()), None),)

    def acknowledge(self, _request: Request) -> Answer:
        """HubSpot reads only the status."""
        return ACCEPTED

    def events(self, request: Request, _received: datetime) -> Sequence[Event]:
        """Turn an event about a ticket into ours; it tells one property, or only that the ticket is there.

        Raises:
            NotUnderstoodError: the body is no list of events, or one has no type, ticket or time, or is nested too
                deep to be told from others.
        """
        events = request.read(_events_of)
        if not events:
            raise NotUnderstoodError("BODY_NOT_A_LIST_OF_EVENTS")
        try:
            keyed = [("/".join(_delivery(event)), event) for event in events]
        except orjson.JSONEncodeError:
            raise NotUnderstoodError("EVENT_TOO_DEEP") from None
        return tuple(change_event(event, key) for key, event in keyed if is_about_tickets(event))

    def hint(self, request: Request) -> str | None:
        """Return the ticket: what HubSpot signs is believed, but it says too little to go without fetching."""
        events = [event for event in request.read(_events_of) if is_about_tickets(event) and not is_deletion(event)]
        tickets = {ticket_of(event) for event in events}
        return tickets.pop() or None if len(tickets) == 1 else None


def _by_v3(request: Request, secrets: Sequence[WebhookSecret], now: datetime) -> Verdict:
    """Judge by the HMAC over method, address, body and time."""
    signed, rule = _SIGNED["v3"], "v3"
    claimed, timestamp = claimed_bytes(request, SIGNATURE_V3), request.header(TIMESTAMP)
    if claimed is None or timestamp is None:
        return Verdict.refused("header_missing_or_repeated", signed=signed, rule=rule)
    # Thirteen digits and no others: a digit that moves between the body and the time is noticed.
    if not _MILLISECONDS.fullmatch(timestamp):
        return Verdict.refused("timestamp_malformed", signed=signed, rule=rule)
    proof = proving(
        secrets, claimed, lambda text: signature_v3(text, request.method, request.url, request.body, timestamp)
    )
    if proof is None:
        return Verdict.refused("signature_mismatch", signed=signed, rule=rule)
    if abs(now - datetime.fromtimestamp(int(timestamp) / 1000, UTC)) > TOLERANCE:
        return Verdict.refused(STALE, signed=signed, rule=rule)
    return Verdict.verified_by(proof, signed=signed, rule=rule)


def _by_hash(request: Request, secrets: Sequence[WebhookSecret], claimed: bytes, version: str) -> Verdict:
    """Judge by a hash of the secret and what follows it."""
    signed = _SIGNED[version]
    lead = _bytes(request.method + request.url) if version == "v2" else b""
    proof = proving(secrets, claimed, lambda text: signature_by_hash(text, lead, request.body))
    # Without a mark between them, what version 2 signs is also what version 1 does, of a body that begins with the
    # method and the address; no list of events does.
    moved = version == "v1" and not isinstance(request.read(json_value), list)
    if proof is None or moved or _is_extended(len(proof.text.encode() + lead), request.body):
        return Verdict.refused("signature_mismatch", signed=signed, rule=version)
    return Verdict.verified_by(proof, signed=signed, rule=version)


def _bytes(text: str) -> bytes:
    """Return what was called as bytes; what cannot be one equals nothing that a vendor signs."""
    return text.encode("utf-8", "replace")


def _is_extended(before: int, body: bytes) -> bool:
    """Return whether the body holds the padding that SHA-256 itself would end a shorter message with.

    Who has one signed body can compute the hash of that body, its padding and anything more without the secret; no
    body of HubSpot's own has such padding in it. `before` is how many bytes are hashed before the body.
    """
    at = body.find(b"\x80")
    while at >= 0:
        length = before + at
        zeros = -(length + 1 + _DIGEST_LENGTH) % _DIGEST_BLOCK
        padding = bytes(zeros) + (length * 8).to_bytes(_DIGEST_LENGTH, "big")
        if body.startswith(padding, at + 1):
            return True
        at = body.find(b"\x80", at + 1)
    return False


def _events_of(body: bytes) -> list[Mapping[str, Any]]:
    """Return the events of a body; none when it is not a list of objects. A part's body is a list of one."""
    value = json_value(body)
    if not isinstance(value, list) or not all(isinstance(event, dict) for event in value):
        return []
    return value


def _portals(events: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the portals that events name, each once."""
    return tuple(dict.fromkeys(portal for event in events if (portal := text_of(event.get("portalId")))))


def _part(event: Mapping[str, Any]) -> Part:
    ticket = ticket_of(event) if is_about_tickets(event) else ""
    return Part(_portals([event]), _delivery(event), ticket or None, orjson.dumps([event]))


def _delivery(event: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what identifies an event for good; its `eventId` alone does not.

    An association has no object but the two that it joins. Without an `eventId` all that it says identifies it, except
    the number of the attempt to send it.

    Raises:
        orjson.JSONEncodeError: it has no `eventId` and is nested too deep to be written down.
    """
    names = ("subscriptionId", "subscriptionType", "objectId", "fromObjectId", "toObjectId", "occurredAt")
    event_id = text_of(event.get("eventId"))
    if not event_id:
        said = {name: value for name, value in event.items() if name != "attemptNumber"}
        event_id = sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return ("event", event_id, *(text_of(event.get(name)) for name in (*names, "propertyName")))


HUBSPOT = HubSpot()
"""The one instance."""
