"""Shopify's webhooks, good and bad."""

import hmac
import secrets
from base64 import b64encode
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
from tests.support.vendors.shopify import ShopifySimulator

_SIGNATURE, _SHOP, _TOPIC = "x-shopify-hmac-sha256", "x-shopify-shop-domain", "x-shopify-topic"


def shop() -> ShopifySimulator:
    """Return a shop with something to tell."""
    made = ShopifySimulator()
    made.add_customer("207119551", "anna@example.com")
    made.add_order("450789469", "207119551", {"price": "199.00", "quantity": 2})
    return made


def cases(secret: str, now: datetime, url: str, other: str) -> list[Case]:
    """Return the rows."""
    vendor = shop()
    body = vendor.order_body("450789469")

    def signed(body: bytes, topic: str = "orders/create") -> Headers:
        return [*vendor.sign(body, secret, now, url, topic=topic).items()]

    good = signed(body)
    customer, refund = vendor.customer_body("207119551"), vendor.refund_body("450789469")
    deleted, asked = vendor.deleted_body("207119551"), vendor.data_request_body("207119551")
    redact, shop_redact = vendor.redact_body("207119551"), vendor.redact_body(None)
    stranger = ShopifySimulator(shop_domain="stranger.myshopify.com").redact_body("207119551")
    return [
        accepted("order created", good, body),
        accepted("customer updated", signed(customer, "customers/update"), customer),
        accepted("refund", signed(refund, "refunds/create"), refund),
        accepted("customer to be forgotten", signed(redact, "customers/redact"), redact),
        accepted("shop to be forgotten", signed(shop_redact, "shop/redact"), shop_redact),
        accepted("customer's data asked for", signed(asked, "customers/data_request"), asked),
        accepted("customer deleted", signed(deleted, "customers/delete"), deleted),
        accepted("shop in capitals", replaced(good, _SHOP, str.upper), body),
        accepted("empty body, signed", signed(b""), b""),
        accepted("no JSON, signed", signed(b"order"), b"order"),
        *_altered(good, body),
        refused("another shop in the header", replaced(good, _SHOP, lambda _: "stranger.myshopify.com"), body),
        refused("another shop in the body", signed(stranger, "customers/redact"), stranger),
        refused("order under a topic of the law", replaced(good, _TOPIC, lambda _: "customers/redact"), body),
        refused("hexadecimal", _by(good, hmac.digest(secret.encode(), body, "sha256").hex()), body),
        refused("SHA-1", _by(good, b64encode(hmac.digest(secret.encode(), body, "sha1")).decode()), body),
        refused("signed by another", [*vendor.sign(body, other, now, url).items()], body),
        refused("too large", signed(b"x" * LARGE), b"x" * LARGE, status=413),
    ]


def _altered(good: Headers, body: bytes) -> list[Case]:
    return [
        refused("flipped bit", good, flipped(body)),
        refused("re-serialised JSON", good, reserialised(body)),
        refused("body truncated", good, body[:-1]),
        refused("body emptied", good, b""),
        refused("not UTF-8", good, b"\xff\xfe" + body),
        refused("signature missing", without(good, _SIGNATURE), body),
        refused("signature twice", doubled(good, _SIGNATURE), body),
        refused("shop missing", without(good, _SHOP), body),
        refused("shop twice", doubled(good, _SHOP), body),
        refused("signature too short", replaced(good, _SIGNATURE, lambda value: value[:-4]), body),
        refused("signature without padding", replaced(good, _SIGNATURE, lambda value: value.rstrip("=")), body),
        refused("signature too long", replaced(good, _SIGNATURE, lambda value: f"{value}AAAA"), body),
        refused("signature in other letters", replaced(good, _SIGNATURE, str.swapcase), body),
        refused("no base64", replaced(good, _SIGNATURE, lambda _: "!" * 44), body),
        refused("signature empty", replaced(good, _SIGNATURE, lambda _: ""), body),
        refused("signatures joined by a comma", replaced(good, _SIGNATURE, lambda value: f"{value},{value}"), body),
    ]


def _by(good: Headers, proof: str) -> Headers:
    return replaced(good, _SIGNATURE, lambda _: proof)


TABLE = Table(
    provider="shopify",
    config={"shop_domain": ShopifySimulator().shop_domain},
    secret=lambda: f"shpss_{secrets.token_hex(16)}",
    cases=cases,
    distinct=9,
)
