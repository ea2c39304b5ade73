"""Shopify: orders and customers of a shop, signed with its app's secret.

The signature is base64(HMAC-SHA256(client secret, raw body)). It covers the body alone: which shop, which topic and
which event it is stand in headers that anybody could change who gets hold of one signed body. So an order or a customer
is fetched from the shop that the connection belongs to, as soon as it has credentials, and what that shop does not know
is no news. Bodies about erasure name the shop themselves.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from services.crm.events import CustomerErasure, Event
from services.crm.providers.api import Api
from services.crm.providers.provider import (
    ACCEPTED,
    Answer,
    NotUnderstoodError,
    Part,
    Proof,
    Request,
    Setting,
    Verdict,
    WebhookSecret,
)
from services.crm.providers.shopify_api import CUSTOMER, GONE, ORDER, SHOPIFY_API
from services.crm.providers.shopify_orders import customer_of_webhook, order_of_webhook
from services.crm.providers.signatures import base64_of, claimed_bytes, json_object, object_of, proving, text_of
from services.crm.providers.snapshots import MOST_ID

SIGNATURE = "x-shopify-hmac-sha256"
TOPIC = "x-shopify-topic"
SHOP = "x-shopify-shop-domain"
WEBHOOK_ID = "x-shopify-webhook-id"
EVENT_ID = "x-shopify-event-id"

_SIGNED = "body"
_RULE = SIGNATURE
_ORDERS = frozenset(
    f"orders/{change}" for change in ("create", "updated", "paid", "cancelled", "fulfilled", "partially_fulfilled")
)
_CUSTOMERS = frozenset(f"customers/{change}" for change in ("create", "update", "enable", "disable"))
_REFUND, _CUSTOMER_DELETED = "refunds/create", "customers/delete"
_REDACT_CUSTOMER, _REDACT_SHOP, _DATA_REQUEST = "customers/redact", "shop/redact", "customers/data_request"
_IDS = frozenset({"id", "admin_graphql_api_id"})
_ABOUT_THE_LAW = frozenset({_REDACT_CUSTOMER, _REDACT_SHOP, _DATA_REQUEST})


def signature(secret: str, body: bytes) -> bytes:
    """Return the base64 signature that Shopify sends for these bytes."""
    return base64_of(hmac.digest(secret.encode(), body, "sha256"))


class Shopify:
    """Shopify."""

    name = "shopify"
    proof = Proof.SIGNATURE
    app_level = True
    account_setting = "shop_domain"
    settings: Mapping[str, Setting] = MappingProxyType(
        {
            "shop_domain": Setting(
                re.compile(r"[a-z0-9][a-z0-9-]{0,62}\.myshopify\.com", re.ASCII),
                "the shop's own domain, in lower case: its name and .myshopify.com",
            ),
            "client_id": Setting(re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII), "the app's client id"),
        }
    )
    credentials = frozenset({"access_token", "client_secret"})
    public_secrets: frozenset[str] = frozenset()
    secret_form: Setting | None = None
    kept_headers = frozenset(
        {
            SIGNATURE,
            TOPIC,
            SHOP,
            WEBHOOK_ID,
            EVENT_ID,
            "x-shopify-api-version",
            "x-shopify-triggered-at",
            "content-type",
        }
    )
    # Eight retries over four hours; a person may have one sent again later.
    retry_horizon = timedelta(days=2)
    api: Api | None = SHOPIFY_API

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], _now: datetime) -> Verdict:
        """Check the signature with every active secret."""
        claimed = claimed_bytes(request, SIGNATURE)
        if claimed is None:
            return Verdict.refused("header_missing_or_repeated", signed=_SIGNED, rule=_RULE)
        proof = proving(secrets, claimed, lambda text: signature(text, request.body))
        if proof is None:
            return Verdict.refused("signature_mismatch", signed=_SIGNED, rule=_RULE)
        return Verdict.verified_by(proof, signed=_SIGNED, rule=_RULE)

    def handshake(self, _request: Request) -> Answer | None:
        """Shopify has no handshake."""
        return None

    def pings(self, _request: Request) -> bool:
        """Test notifications are deliveries like all others."""
        return False

    def parts(self, request: Request) -> Sequence[Part]:
        """Name the shop (as a body about erasure does too), the event and the order or customer.

        One event may come under two topics, and to two subscriptions of one topic: the latter is the same delivery. The
        id of the webhook stands for the event's where that is missing. Neither is signed, so that the body identifies
        too: whatever ids another change comes with, it is not taken for a copy.
        """
        body = request.read(json_object) or {}
        topic = request.header(TOPIC) or ""
        accounts = [(request.header(SHOP) or "").lower()]
        if topic in _ABOUT_THE_LAW or "shop_domain" in body:
            accounts.append(text_of(body.get("shop_domain")).lower())
        digest = sha256(request.body).hexdigest()
        delivery: tuple[str, ...] = ("body", topic, digest)
        if event := request.header(EVENT_ID):
            delivery = ("event", topic, event, digest)
        elif webhook := request.header(WEBHOOK_ID):
            delivery = ("webhook", topic, webhook, digest)
        return (Part(tuple(accounts), delivery, _subject(topic, body) or None),)

    def acknowledge(self, _request: Request) -> Answer:
        """Shopify reads only the status."""
        return ACCEPTED

    def events(self, request: Request, _received: datetime) -> Sequence[Event]:
        """Turn a body into events, for a connection that cannot fetch it.

        What the law asks for beyond a customer's erasure is for people: it is quarantined, so that somebody sees it.
        That a customer was deleted means nothing by itself: only the header says so, and the shop is asked.

        Raises:
            NotUnderstoodError: the body is not what the topic says, or has to be answered by a person.
        """
        body = request.read(json_object)
        if body is None:
            raise NotUnderstoodError("BODY_NOT_A_JSON_OBJECT")
        topic = request.header(TOPIC) or ""
        if topic in _ABOUT_THE_LAW:
            return _by_law(topic, body)
        if topic == _CUSTOMER_DELETED:
            _check_deleted(body)
            return ()
        if topic in _ORDERS:
            _check_kind(body, "Order")
            order = order_of_webhook(body)
            return () if order is None else (order,)
        if topic in _CUSTOMERS:
            _check_kind(body, "Customer")
            customer = customer_of_webhook(body)
            return () if customer is None else (customer,)
        return ()

    def hint(self, request: Request) -> str | None:
        """Return what is fetched from the shop before it is believed; None for other topics."""
        topic = request.header(TOPIC) or ""
        body = request.read(json_object) or {}
        if topic in _ABOUT_THE_LAW or not (subject := _subject(topic, body)):
            return None
        return f"{GONE}{subject}" if topic == _CUSTOMER_DELETED else subject


def _subject(topic: str, body: Mapping[str, Any]) -> str:
    """Return the order or the customer that a delivery is about; empty when it is about neither."""
    if topic == _REFUND:
        kind, number = ORDER, text_of(body.get("order_id"))
    elif topic in _ORDERS:
        kind, number = ORDER, text_of(body.get("id"))
    elif topic in _CUSTOMERS or topic == _CUSTOMER_DELETED:
        kind, number = CUSTOMER, text_of(body.get("id"))
    elif topic == _REDACT_CUSTOMER:
        kind, number = CUSTOMER, text_of(object_of(body.get("customer")).get("id"))
    else:
        return ""
    return f"{kind}{number}" if number.isascii() and number.isdecimal() and len(number) <= MOST_ID else ""


def _check_kind(body: Mapping[str, Any], kind: str) -> None:
    """Check the body's own word for what it is, since the topic is not signed."""
    named = text_of(body.get("admin_graphql_api_id"))
    if named and not named.startswith(f"gid://shopify/{kind}/"):
        raise NotUnderstoodError("BODY_NOT_OF_ITS_TOPIC")


def _check_deleted(body: Mapping[str, Any]) -> None:
    """Check that nothing but ids is told, as of a customer who is gone: any other body may be of another topic."""
    _number(body)
    _check_kind(body, "Customer")
    if any(value for name, value in body.items() if name not in _IDS):
        raise NotUnderstoodError("BODY_NOT_OF_ITS_TOPIC")


def _number(body: Mapping[str, Any]) -> str:
    number = text_of(body.get("id"), MOST_ID)
    if not number:
        raise NotUnderstoodError("CUSTOMER_ID_MISSING")
    return number


def _by_law(topic: str, body: Mapping[str, Any]) -> Sequence[Event]:
    if topic == _REDACT_CUSTOMER:
        # What only asks for a customer's data names the same shop and customer.
        if "orders_to_redact" not in body or "data_request" in body:
            raise NotUnderstoodError("BODY_NOT_OF_ITS_TOPIC")
        return (CustomerErasure(_number(object_of(body.get("customer")))),)
    raise NotUnderstoodError("SHOP_ERASURE_REQUESTED" if topic == _REDACT_SHOP else "CUSTOMER_DATA_REQUESTED")


SHOPIFY = Shopify()
"""The one instance."""
