"""Requests as Zendesk makes them, for tests."""

from datetime import UTC, datetime
from typing import Any

import orjson

from services.crm.providers.provider import Request, WebhookSecret
from services.crm.providers.zendesk import ACCOUNT, INVOCATION, SIGNATURE, TIMESTAMP, signature

Pairs = tuple[tuple[str, str], ...]
"""Headers."""

SECRET = "c2VjcmV0LW9mLXRoZS10ZXN0LWNvbm5lY3Rpb24="
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
URL = "https://rapport.example/webhooks/zendesk/token"


def secret(text: str = SECRET, version: int = 1, *, until: datetime | None = None) -> WebhookSecret:
    """Return a webhook secret that has been accepted for long."""
    return WebhookSecret(version, text, LONG_AGO, until)


def stamp(time: datetime) -> str:
    """Return a time as Zendesk writes it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def headers(
    body: bytes, time: datetime, *, text: str = SECRET, invocation: str = "01HINV", account: str = "777"
) -> Pairs:
    """Return the headers of a request that is signed at `time`."""
    timestamp = stamp(time)
    return (
        ("content-type", "application/json"),
        (ACCOUNT, account),
        (INVOCATION, invocation),
        ("x-zendesk-webhook-id", "01HWEBHOOK"),
        (TIMESTAMP, timestamp),
        (SIGNATURE, signature(text, timestamp, body).decode()),
    )


def request(body: bytes, time: datetime, **changes: str) -> Request:
    """Return a signed request."""
    return Request("POST", URL, headers(body, time, **changes), body)


def event(
    change: str = "created",
    *,
    event_id: str = "evt-1",
    ticket: str = "35436",
    detail: dict[str, Any] | None = None,
    happened: dict[str, Any] | None = None,
    time: str = "2026-11-20T10:00:00Z",
) -> bytes:
    """Return the body of a ticket event."""
    return orjson.dumps(
        {
            "type": f"zen:event-type:ticket.{change}",
            "account_id": 777,
            "id": event_id,
            "time": time,
            "zendesk_event_version": "2022-11-06",
            "subject": f"zen:ticket:{ticket}",
            "detail": {
                "id": ticket,
                "subject": "Where is my parcel?",
                "description": "It should have been here on Monday.",
                "status": "NEW",
                "priority": "HIGH",
                "requester_id": "8447388090494",
                "submitter_id": "8447388090494",
                "tags": ["parcel", "late"],
                "via": {"channel": "email"},
                "is_public": True,
                "created_at": "2026-11-20T09:59:58Z",
                "updated_at": "2026-11-20T10:00:00Z",
                **(detail or {}),
            },
            "event": happened or {},
        }
    )
