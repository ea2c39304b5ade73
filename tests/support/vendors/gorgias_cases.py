"""Gorgias' webhooks, good and bad: nothing is signed, so that the token alone decides."""

import secrets
from datetime import datetime
from urllib.parse import urlsplit

import orjson

from tests.support.vendors.cases import LARGE, Case, Table, accepted, doubled, refused, replaced, without
from tests.support.vendors.gorgias import GorgiasSimulator

_TOKEN = "x-webhook-token"


def cases(secret: str, now: datetime, url: str, other: str) -> list[Case]:
    """Return the rows."""
    vendor = GorgiasSimulator()
    vendor.open_ticket("701", "The zip is broken", "It came like that.")
    body = vendor.webhook("701")
    good = [*vendor.sign(body, secret, now, url).items()]
    foreign = orjson.dumps({**orjson.loads(body), "account": "other"})
    return [
        accepted("ticket created", good, body),
        accepted("ticket updated", good, vendor.webhook("701", "ticket-updated")),
        accepted("own template without an account", good, b'{"ticket_id":"701"}'),
        accepted("account as a host", good, orjson.dumps({"ticket_id": 701, "account": "acme.gorgias.com"})),
        accepted("no JSON", good, b"ticket_id=701"),
        refused("token missing", without(good, _TOKEN), body),
        refused("token twice", doubled(good, _TOKEN), body),
        refused("token empty", replaced(good, _TOKEN, lambda _: ""), body),
        refused("token too short", replaced(good, _TOKEN, lambda value: value[:-1]), body),
        refused("token too long", replaced(good, _TOKEN, lambda value: f"{value}A"), body),
        refused("token in another case", replaced(good, _TOKEN, str.swapcase), body),
        refused("last character of the token changed", replaced(good, _TOKEN, _last_changed), body),
        refused("token in quotes", replaced(good, _TOKEN, lambda value: f'"{value}"'), body),
        refused("two tokens in one header", replaced(good, _TOKEN, lambda value: f"{other}, {value}"), body),
        refused("token as Bearer", [("authorization", f"Bearer {secret}")], body),
        refused("token in the query", without(good, _TOKEN), body, path_query=f"{urlsplit(url).path}?token={secret}"),
        refused("token in the body", without(good, _TOKEN), orjson.dumps({"ticket_id": "701", _TOKEN: secret})),
        refused("invented signature", [("x-gorgias-signature", secret)], body),
        refused("another account", good, foreign),
        refused("account in another case of letters with a tail", good, body.replace(b'"acme"', b'"acme.evil"')),
        refused("body emptied, without token", without(good, _TOKEN), b""),
        refused("not UTF-8, without token", without(good, _TOKEN), b"\xff\xfe"),
        refused("too large", good, b"x" * LARGE, status=413),
    ]


def _last_changed(value: str) -> str:
    return value[:-1] + ("A" if value[-1] != "A" else "B")


TABLE = Table(
    provider="gorgias",
    config={"domain": "acme"},
    secret=lambda: f"a{secrets.token_urlsafe(32)}",
    cases=cases,
    distinct=5,
)
