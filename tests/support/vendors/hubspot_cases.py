"""HubSpot's webhooks, good and bad, in all three versions of its signature."""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

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
from tests.support.vendors.hubspot import HubSpotSimulator, batch

_V3 = "x-hubspot-signature-v3"
_TIME = "x-hubspot-request-timestamp"
_HASH = "x-hubspot-signature"
_VERSION = "x-hubspot-signature-version"
_LATE = timedelta(minutes=5, seconds=10)


def cases(secret: str, now: datetime, url: str, other: str) -> list[Case]:
    """Return the rows."""
    vendor = HubSpotSimulator()
    vendor.open_ticket("512", "The zip is broken", "It came like that.")
    created = vendor.event("512")
    body = batch(created)

    def signed(body: bytes, at: datetime = now) -> Headers:
        return [*vendor.sign(body, secret, at, url).items()]

    def events(*events: dict[str, Any]) -> tuple[Headers, bytes]:
        return signed(batch(*events)), batch(*events)

    priority = vendor.event("512", "propertyChange", propertyName="hs_ticket_priority", propertyValue="HIGH")
    return [
        accepted("ticket created", signed(body), body),
        accepted("two events", *events(created, priority), deliveries=2),
        accepted("at the edge of the tolerance", signed(body, now - timedelta(minutes=4, seconds=30)), body),
        accepted("empty list, signed", *events()),
        accepted("empty body, signed", signed(b""), b""),
        accepted("no JSON, signed", signed(b"events"), b"events"),
        accepted("not UTF-8, signed", signed(b"\xff\xfe[]"), b"\xff\xfe[]"),
        accepted("no portal", *events({name: value for name, value in created.items() if name != "portalId"})),
        refused("another portal", *events(created | {"portalId": 99})),
        refused("two events, one of another portal", *events(created, priority | {"portalId": 99})),
        refused("too large", signed(b"x" * LARGE), b"x" * LARGE, status=413),
        *_wrong_in_v3(vendor, secret, now, url, other),
        *_by_hash(vendor, secret, now, url, body),
    ]


def _wrong_in_v3(vendor: HubSpotSimulator, secret: str, now: datetime, url: str, other: str) -> list[Case]:
    """Return what is wrong with the headers or the bytes of version 3."""
    body = batch(vendor.event("512"))

    def signed(at: datetime = now, *, body: bytes = body, url: str = url) -> Headers:
        return [*vendor.sign(body, secret, at, url).items()]

    good = signed()
    time = dict(good)[_TIME]
    digit = time.encode() + b"1"
    return [
        refused("flipped bit", good, flipped(body)),
        refused("re-serialised JSON", good, reserialised(body)),
        refused("body emptied", good, b""),
        refused("not UTF-8", good, b"\xff\xfe" + body),
        refused("stale", signed(now - _LATE), body),
        refused("future", signed(now + _LATE), body),
        refused("another time than signed", replaced(good, _TIME, lambda value: f"{int(value) + 1}"), body),
        refused("time in seconds", replaced(good, _TIME, lambda value: value[:-3]), body),
        refused("time with a sign", replaced(good, _TIME, lambda value: f"+{value}"), body),
        refused("time no number", replaced(good, _TIME, lambda _: "2026-11-22T12:00:00Z"), body),
        refused("time missing", without(good, _TIME), body),
        refused("time twice", doubled(good, _TIME), body),
        refused("a digit moved from the time to the body", _moved(good, time[1:]), body + time[:1].encode()),
        refused("a digit moved from the body to the time", _moved(signed(body=body + b"1"), f"1{time}"), body),
        refused("signature missing", without(good, _V3), body),
        refused("signature twice", doubled(good, _V3), body),
        refused("signature too short", replaced(good, _V3, lambda value: value[:-4]), body),
        refused("signature in another case", replaced(good, _V3, str.swapcase), body),
        refused("signature without padding", replaced(good, _V3, lambda value: value.rstrip("=")), body),
        refused("no base64", replaced(good, _V3, lambda _: "%%%"), body),
        refused("signature in hexadecimal", replaced(good, _V3, lambda value: value.encode().hex()), body),
        refused("another address", signed(url=f"{url}x"), body),
        refused("another address by its query", signed(url=f"{url}?a=1"), body),
        refused("plain http address", signed(url=url.replace("https:", "http:")), body),
        refused("another secret's, with a digit", [*vendor.sign(digit, other, now, url).items()], digit),
    ]


def _by_hash(vendor: HubSpotSimulator, secret: str, now: datetime, url: str, body: bytes) -> list[Case]:
    """Return the requests of versions 1 and 2, and their mixtures with version 3."""
    v1, v2 = ([*vendor.sign_by_hash(body, secret, url, version).items()] for version in ("v1", "v2"))
    v3 = [*vendor.sign(body, secret, now, url).items()]
    empty = [*vendor.sign_by_hash(b"", secret, url, "v2").items()]
    longer = batch(vendor.event("512", event_id=2))
    return [
        accepted("version 1", v1, body),
        accepted("version 2", v2, body),
        accepted("version 3 beside version 1", [*v3, *v1[1:]], body),
        accepted("version 3 beside a wrong version 1", [*v3, *replaced(v1, _HASH, lambda _: "0" * 64)[1:]], body),
        refused("wrong version 3 beside a right version 1", [*replaced(v3, _V3, str.swapcase), *v1[1:]], body),
        refused("version 3 without its time beside a right version 2", [*without(v3, _TIME), *v2[1:]], body),
        refused("version 3 twice beside a right version 1", [*doubled(v3, _V3), *v1[1:]], body),
        refused("empty version 3 beside a right version 1", [(_V3, ""), *v1], body),
        refused("version missing", without(v1, _VERSION), body),
        refused("version unknown", replaced(v1, _VERSION, lambda _: "v4"), body),
        refused("version twice", doubled(v1, _VERSION), body),
        refused("version 1 called version 2", replaced(v1, _VERSION, lambda _: "v2"), body),
        refused("version 2 called version 1", replaced(v2, _VERSION, lambda _: "v1"), body),
        refused(
            "version 2 called version 1, its address moved to the body", _called_v1(v2), f"POST{url}".encode() + body
        ),
        refused("empty version 2 called version 1", _called_v1(empty), f"POST{url}".encode()),
        refused("version 1 of no list", [*vendor.sign_by_hash(b"{}", secret, url, "v1").items()], b"{}"),
        refused("version 1 in upper case", replaced(v1, _HASH, str.upper), body),
        refused("version 1 with a flipped bit", v1, flipped(body)),
        refused("version 2 of another address", [*vendor.sign_by_hash(body, secret, f"{url}x", "v2").items()], body),
        refused("version 1 of another body", v1, longer),
        refused("version 1, extended without the secret", *_extended(secret, body, longer)),
    ]


def _called_v1(headers: Headers) -> Headers:
    """Return the headers with version 1 in place of theirs."""
    return replaced(headers, _VERSION, lambda _: "v1")


def _moved(headers: Headers, time: str) -> Headers:
    """Return the headers with another time."""
    return replaced(headers, _TIME, lambda _: time)


def _extended(secret: str, body: bytes, more: bytes) -> tuple[Headers, bytes]:
    """Return what somebody can make of one signed body: SHA-256 goes on from a hash without what was hashed.

    The secret stands here only to make the hash that the state of the shorter one would be continued to.
    """
    length = len(secret.encode() + body)
    padding = b"\x80" + bytes(-(length + 9) % 64) + (length * 8).to_bytes(8, "big")
    made = body + padding + more
    return [(_HASH, sha256(secret.encode() + made).hexdigest()), (_VERSION, "v1")], made


TABLE = Table(
    provider="hubspot",
    config={"portal_id": str(HubSpotSimulator().portal_id)},
    secret=lambda: f"{secrets.token_hex(4)}-{secrets.token_hex(16)}",
    cases=cases,
    distinct=6,
)
