"""Standard Webhooks, good and bad."""

import secrets
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta

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
from tests.support.vendors.standard import StandardSender, private_key, signature, ticket_body

_ID, _TIME, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_LATE = timedelta(minutes=5, seconds=10)
_DECOYS = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= {} v2,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="


def cases(secret: str, now: datetime, url: str, other: str) -> list[Case]:
    """Return the rows."""
    vendor, svix = StandardSender(), StandardSender(brand="svix")
    body = ticket_body("T-1", now)

    def signed(body: bytes, at: datetime = now, message: str = "") -> Headers:
        return [*vendor.sign(body, secret, at, url, message=message).items()]

    good = signed(body)
    values: Mapping[str, str] = dict(good)
    forged = vendor.sign(body, other, now, url)[_SIGNATURE]
    return [
        accepted("ticket updated", good, body),
        accepted("names of Svix", [*svix.sign(body, secret, now, url).items()], body),
        accepted("among signatures of other keys and versions", replaced(good, _SIGNATURE, _DECOYS.format), body),
        accepted("old and new secret at once", replaced(good, _SIGNATURE, lambda own: f"{forged} {own}"), body),
        accepted("just within the tolerance", signed(body, now - _LATE + timedelta(seconds=20)), body),
        *_altered(good, body),
        *_times(good, body, signed(body, now - _LATE), signed(body, now + _LATE)),
        refused("boundary between id and time moved", *_moved_id(values, secret, body)),
        refused("boundary between time and body moved", _moved_time(good, body), body[1:]),
        refused("id with a full stop", signed(body, message="msg.1"), body),
        refused("id empty", [*signed(body)[:1], (_ID, ""), *good[2:]], body),
        refused("of another version", replaced(good, _SIGNATURE, lambda own: own.replace("v1,", "v2,")), body),
        refused("symmetric as asymmetric", replaced(good, _SIGNATURE, lambda own: own.replace("v1,", "v1a,")), body),
        refused("names of two brands mixed", replaced_name(good, _ID, "svix-id"), body),
        refused("more signatures than anybody needs", replaced(good, _SIGNATURE, lambda own: "v1,A " * 20 + own), body),
        refused("secret not decoded", _undecoded(values, secret, body), body),
        refused("ed25519 by a stranger", [*vendor.sign(body, private_key(b"s" * 32), now, url).items()], body),
        refused("no JSON, not signed", [("content-type", "text/plain")], b"hello"),
        refused("too large", signed(b"x" * LARGE), b"x" * LARGE, status=413),
    ]


def _altered(good: Headers, body: bytes) -> list[Case]:
    def changed(change: Mapping[str, str]) -> Headers:
        return [(name, change.get(name, value)) for name, value in good]

    proof = dict(good)[_SIGNATURE]
    return [
        refused("flipped bit", good, flipped(body)),
        refused("re-serialised JSON", good, reserialised(body)),
        refused("body emptied", good, b""),
        refused("not UTF-8", good, b"\xff\xfe" + body),
        *(refused(f"{name} missing", without(good, name), body) for name in (_ID, _TIME, _SIGNATURE)),
        *(refused(f"{name} twice", doubled(good, name), body) for name in (_ID, _TIME, _SIGNATURE)),
        refused("another id", changed({_ID: "msg_other"}), body),
        refused("signature too short", changed({_SIGNATURE: proof[:-4]}), body),
        refused("signature too long", changed({_SIGNATURE: f"{proof}AAAA"}), body),
        refused("no base64", changed({_SIGNATURE: "v1,!!!"}), body),
        refused("signature empty", changed({_SIGNATURE: "v1,"}), body),
        refused("no version", changed({_SIGNATURE: proof.removeprefix("v1,")}), body),
        refused("in other letters", changed({_SIGNATURE: f"v1,{proof[3:].swapcase()}"}), body),
        refused("signatures joined by a comma", changed({_SIGNATURE: f"{proof},{proof}"}), body),
    ]


def _times(good: Headers, body: bytes, stale: Headers, future: Headers) -> list[Case]:
    return [
        refused("stale", stale, body),
        refused("from the future", future, body),
        refused("another time", replaced(good, _TIME, lambda time: str(int(time) - 1)), body),
        refused("time in milliseconds", replaced(good, _TIME, lambda time: f"{time}000"), body),
        refused("time with a sign", replaced(good, _TIME, lambda time: f"+{time}"), body),
        refused("time as text", replaced(good, _TIME, lambda _: "2026-11-22T12:00:00Z"), body),
    ]


def _moved_id(values: Mapping[str, str], secret: str, body: bytes) -> tuple[Headers, bytes]:
    """Return the bytes `id.time.time.body` signed, read with the first time as part of the id."""
    message, time = values[_ID], values[_TIME]
    whole = f"{time}.".encode() + body
    proof = signature(secret, message, time, whole)
    return [(_ID, f"{message}.{time}"), (_TIME, time), (_SIGNATURE, proof)], body


def _moved_time(good: Headers, body: bytes) -> Headers:
    return replaced(good, _TIME, lambda time: f"{time}.{body[:1].decode()}")


def _undecoded(values: Mapping[str, str], secret: str, body: bytes) -> Headers:
    """Return a signature whose key is the secret's text, as a sender makes it who overlooks the base64."""
    text = "whsec_" + b64encode(secret.encode()).decode()
    proof = signature(text, values[_ID], values[_TIME], body)
    return [(_ID, values[_ID]), (_TIME, values[_TIME]), (_SIGNATURE, proof)]


def replaced_name(headers: Headers, name: str, other: str) -> Headers:
    """Return the headers with one under another name."""
    return [(other if key == name else key, value) for key, value in headers]


TABLE = Table(
    provider="standard",
    config={},
    secret=lambda: f"whsec_{b64encode(secrets.token_bytes(24)).decode()}",
    cases=cases,
    distinct=1,
)
