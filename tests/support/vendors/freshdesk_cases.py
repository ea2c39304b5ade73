"""Freshdesk's webhooks, good and bad: nothing is signed; the token comes in a header or as a Basic password."""

import secrets
from base64 import b64encode
from datetime import datetime
from urllib.parse import urlsplit

import orjson

from tests.support.vendors.cases import LARGE, Case, Headers, Table, accepted, doubled, refused, replaced, without
from tests.support.vendors.freshdesk import FreshdeskSimulator

_TOKEN = "x-webhook-token"
_BASIC = "authorization"


def cases(secret: str, now: datetime, url: str, other: str) -> list[Case]:
    """Return the rows."""
    vendor = FreshdeskSimulator()
    vendor.open_ticket("701", "The zip is broken", "It came like that.")
    body = vendor.webhook("701")
    good = [*vendor.sign(body, secret, now, url).items()]
    basic = _basic("rapport", secret)
    own = orjson.dumps({"ticket_id": "701", "event": "{priority:{from:1,to:4}}"})
    return [
        accepted("documented template", good, body),
        accepted("simple form", good, vendor.simple("701")),
        accepted("token as the Basic password", basic, body),
        accepted("both", [*good, *basic], body),
        accepted("the shop's own form", good, own),
        accepted("no JSON", good, b"ticket_id=701"),
        refused("nothing", [], body),
        refused("token twice", doubled(good, _TOKEN), body),
        refused("token empty", replaced(good, _TOKEN, lambda _: ""), body),
        refused("token too short", replaced(good, _TOKEN, lambda value: value[:-1]), body),
        refused("token too long", replaced(good, _TOKEN, lambda value: f"{value}A"), body),
        refused("token in another case", replaced(good, _TOKEN, str.swapcase), body),
        refused("Basic twice", doubled(basic, _BASIC), body),
        refused("Basic without a password", [(_BASIC, _encoded(secret))], body),
        refused("token as the user of Basic", _basic(secret, "X"), body),
        refused("Basic that is no base64", [(_BASIC, "Basic %%%")], body),
        refused("Basic without padding", replaced(basic, _BASIC, lambda value: value.rstrip("=") + "A"), body),
        refused("another scheme", replaced(basic, _BASIC, lambda value: value.replace("Basic", "Bearer")), body),
        refused("right header, wrong Basic", [*good, *_basic("rapport", other)], body),
        refused("wrong header, right Basic", [*replaced(good, _TOKEN, lambda _: other), *basic], body),
        refused("token in the query", without(good, _TOKEN), body, path_query=f"{urlsplit(url).path}?key={secret}"),
        refused("invented signature", [("x-freshdesk-signature", secret)], body),
        refused("another account", good, body.replace(b"acme.", b"evil.")),
        refused(
            "account as a part of another host", good, body.replace(b"acme.freshdesk.com", b"acme.freshdesk.com.evil")
        ),
        refused("account before an at sign", good, body.replace(b"acme.freshdesk.com", b"acme.freshdesk.com@evil")),
        refused("body emptied, without token", without(good, _TOKEN), b""),
        refused("not UTF-8, without token", without(good, _TOKEN), b"\xff\xfe"),
        refused("too large", good, b"x" * LARGE, status=413),
    ]


def _basic(user: str, password: str) -> Headers:
    return [(_BASIC, _encoded(f"{user}:{password}"))]


def _encoded(text: str) -> str:
    return f"Basic {b64encode(text.encode()).decode()}"


TABLE = Table(
    provider="freshdesk",
    config={"domain": "acme"},
    secret=lambda: f"a{secrets.token_urlsafe(32)}",
    cases=cases,
    distinct=6,
)
