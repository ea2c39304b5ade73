"""Zendesk's webhooks, good and bad."""

import secrets
from base64 import b64decode
from datetime import datetime, timedelta

from services.crm.providers.zendesk import PUBLIC_TEST_SECRET
from tests.support.vendors.cases import (
    LARGE,
    Case,
    Headers,
    Table,
    accepted,
    doubled,
    flipped,
    refused,
    replaced,
    reserialised,
    without,
)
from tests.support.vendors.zendesk import ZendeskSimulator

_SIGNATURE = "x-zendesk-webhook-signature"
_TIME = "x-zendesk-webhook-signature-timestamp"
_ACCOUNT = "x-zendesk-account-id"
_LATE = timedelta(minutes=5, seconds=10)


def cases(secret: str, now: datetime, url: str, _other: str) -> list[Case]:
    """Return the rows."""
    vendor = ZendeskSimulator()
    vendor.open_ticket("35436", "The zip is broken", "It came like that.")
    body = vendor.event("35436", event_id="event-1")

    def signed(body: bytes, at: datetime = now, *, secret: str = secret) -> Headers:
        return [*vendor.sign(body, secret, at, url).items()]

    good = signed(body)
    time = dict(good)[_TIME]
    trigger = b'{"ticket": "35436", "said": "hello"}'
    largest = trigger + b" " * (LARGE - 1 - len(trigger))
    return [
        accepted("ticket created", good, body),
        accepted("trigger with the shop's own body", signed(trigger), trigger),
        accepted("the largest body", signed(largest), largest),
        accepted("empty body, signed", signed(b""), b""),
        accepted("at the edge of the tolerance", signed(body, now - timedelta(minutes=4, seconds=30)), body),
        refused("flipped bit", good, flipped(body)),
        refused("re-serialised JSON", good, reserialised(body)),
        refused("body emptied", good, b""),
        refused("not UTF-8", good, b"\xff\xfe" + body),
        refused("stale", signed(body, now - _LATE), body),
        refused("future", signed(body, now + _LATE), body),
        refused("time missing", without(good, _TIME), body),
        refused("time twice", doubled(good, _TIME), body),
        refused("time in seconds since 1970", replaced(good, _TIME, lambda _: f"{int(now.timestamp())}"), body),
        refused("another time than signed", replaced(good, _TIME, lambda value: f"{value[:-1]}.5Z"), body),
        refused("boundary moved into the time", replaced(good, _TIME, lambda value: f"{value}{{"), body[1:]),
        refused("boundary moved into the body", replaced(good, _TIME, lambda _: time[:-1]), b"Z" + body),
        refused("signature missing", without(good, _SIGNATURE), body),
        refused("signature twice", doubled(good, _SIGNATURE), body),
        refused("signature too short", replaced(good, _SIGNATURE, lambda value: value[:-4]), body),
        refused("signature in another case", replaced(good, _SIGNATURE, str.swapcase), body),
        refused("signature without padding", replaced(good, _SIGNATURE, lambda value: value.rstrip("=")), body),
        refused("no base64", replaced(good, _SIGNATURE, lambda _: "%%%"), body),
        refused("signature in hexadecimal", replaced(good, _SIGNATURE, lambda value: b64decode(value).hex()), body),
        refused("the vendor's public secret", signed(body, secret=PUBLIC_TEST_SECRET), body),
        refused("another account in the header", replaced(good, _ACCOUNT, lambda _: "999"), body),
        refused("another account in the body", *_elsewhere(vendor, secret, now, url)),
        refused("too large", signed(b"x" * LARGE), b"x" * LARGE, status=413),
    ]


def _elsewhere(vendor: ZendeskSimulator, secret: str, now: datetime, url: str) -> tuple[Headers, bytes]:
    """Return an event of another account, rightly signed, whose header names the connection's."""
    other = ZendeskSimulator(account_id=999, tickets=vendor.tickets)
    body = other.event("35436", event_id="event-2")
    return [*vendor.sign(body, secret, now, url).items()], body


TABLE = Table(
    provider="zendesk",
    config={"subdomain": "acme", "account_id": str(ZendeskSimulator().account_id)},
    secret=lambda: secrets.token_urlsafe(32),
    cases=cases,
    distinct=4,
)
