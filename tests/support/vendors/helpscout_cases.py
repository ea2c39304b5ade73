"""Help Scout's webhooks, good and bad."""

import secrets
from base64 import b64decode
from datetime import datetime

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
from tests.support.vendors.helpscout import HelpScoutSimulator

_SIGNATURE = "x-helpscout-signature"
_EVENT = "x-helpscout-event"


def cases(secret: str, now: datetime, url: str, other: str) -> list[Case]:
    """Return the rows."""
    vendor = HelpScoutSimulator()
    vendor.open_conversation("701", "The zip is broken", "It came like that.")
    body = vendor.webhook("701")
    test = b'{"test":true}'
    address = b'{"resourceUri":"https://api.helpscout.net/v2/conversations/701"}'

    def signed(body: bytes, event: str = "convo.created") -> Headers:
        return replaced([*vendor.sign(body, secret, now, url).items()], _EVENT, lambda _: event)

    good = signed(body)
    return [
        accepted("conversation created", good, body),
        accepted("address only", signed(address, "convo.created"), address),
        accepted("event's name missing", without(good, _EVENT), body),
        accepted("test", signed(test, "helpscout.test"), test, deliveries=0),
        accepted("conversation that calls itself a test", signed(body, "helpscout.test"), body),
        refused("flipped bit", good, flipped(body)),
        refused("re-serialised JSON", good, reserialised(body)),
        refused("body truncated", good, body[:-1]),
        refused("body emptied", good, b""),
        refused("a space more", good, body + b" "),
        refused("not UTF-8", good, b"\xff\xfe" + body),
        refused("signature missing", without(good, _SIGNATURE), body),
        refused("signature twice", doubled(good, _SIGNATURE), body),
        refused("signature too short", replaced(good, _SIGNATURE, lambda value: value[:-4]), body),
        refused("signature too long", replaced(good, _SIGNATURE, lambda value: f"{value}AAAA"), body),
        refused("signature in another case", replaced(good, _SIGNATURE, str.swapcase), body),
        refused("signature without padding", replaced(good, _SIGNATURE, lambda value: value.rstrip("=")), body),
        refused("no base64", replaced(good, _SIGNATURE, lambda _: "%%%"), body),
        refused("signature in hexadecimal", replaced(good, _SIGNATURE, lambda value: b64decode(value).hex()), body),
        refused("signature empty", replaced(good, _SIGNATURE, lambda _: ""), body),
        refused("test unsigned", [(_EVENT, "helpscout.test")], test),
        refused("test signed by another", [*vendor.sign(test, other, now, url).items()], test),
        refused("HEAD", [], b"", method="HEAD"),
        refused("too large", signed(b"x" * LARGE), b"x" * LARGE, status=413),
    ]


TABLE = Table(provider="helpscout", config={}, secret=lambda: secrets.token_urlsafe(30), cases=cases, distinct=2)
