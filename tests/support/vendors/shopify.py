"""A Shopify shop: orders and customers, told by webhooks in the form of REST and by the GraphQL Admin API."""

import base64
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from tests.support.vendors.server import Answered, Asked, Route

_BEGINNING = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
_POINTS = 1000.0
_COST = 100


@dataclass
class ShopifySimulator:
    """One shop with one app. Orders and customers are kept by their number, as their GraphQL objects.

    Its clock goes on by a second with every change. `page_size` cuts every list short, `throttled` counts down the
    queries that are answered with "Throttled".
    """

    shop_domain: str = "acme.myshopify.com"
    access_token: str = "shpat_simulated"
    client_id: str = "shopifyclient"
    client_secret: str = "shpss_simulated"
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    customers: dict[str, dict[str, Any]] = field(default_factory=dict)
    now: datetime = _BEGINNING
    page_size: int = 250
    throttled: int = 0
    name: str = "shopify"

    @property
    def routes(self) -> Sequence[Route]:
        """The endpoints that Rapport calls."""
        return (
            Route("POST", "/admin/api/{version}/graphql.json", self._graphql),
            Route("POST", "/admin/oauth/access_token", self._token),
        )

    def authorized(self, asked: Asked) -> bool:
        """Accept the access token; whoever asks for one brings the client's secret in the form."""
        return (
            asked.path == "/admin/oauth/access_token"
            or asked.headers.get("x-shopify-access-token") == self.access_token
        )

    def sign(
        self, body: bytes, secret: str, at: datetime, _url: str, *, topic: str = "orders/create", event: str = ""
    ) -> Mapping[str, str]:
        """Sign the body; everything else in the headers is unsigned."""
        event = event or hmac.digest(b"event", body, "sha256").hex()[:32]
        return {
            "content-type": "application/json",
            "x-shopify-topic": topic,
            "x-shopify-shop-domain": self.shop_domain,
            "x-shopify-api-version": "2026-10",
            "x-shopify-webhook-id": f"wh-{event}",
            "x-shopify-event-id": event,
            "x-shopify-triggered-at": at.isoformat(),
            "x-shopify-hmac-sha256": base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode(),
        }

    def add_customer(
        self, number: str, email: str, first: str = "Anna", last: str = "Berg", phone: str | None = None
    ) -> None:
        """Let somebody sign up."""
        time = self._tick()
        self.customers[number] = {
            "id": f"gid://shopify/Customer/{number}",
            "createdAt": time,
            "updatedAt": time,
            "firstName": first,
            "lastName": last,
            "defaultEmailAddress": {"emailAddress": email},
            "defaultPhoneNumber": {"phoneNumber": phone} if phone else None,
        }

    def add_order(self, number: str, customer: str | None, *lines: Mapping[str, Any], currency: str = "EUR") -> None:
        """Let somebody buy; a line has `price` and maybe `product`, `name`, `quantity`, `discount`."""
        time = self._tick()
        self.orders[number] = {
            "id": f"gid://shopify/Order/{number}",
            "createdAt": time,
            "updatedAt": time,
            "cancelledAt": None,
            "taxesIncluded": True,
            "totalPriceSet": _money("0.0"),
            "totalTaxSet": _money("0.0"),
            "totalRefundedSet": _money("0.0"),
            "totalRefundedShippingSet": _money("0.0"),
            "currencyCode": currency,
            "customer": {"id": f"gid://shopify/Customer/{customer}"} if customer else None,
            "lines": [_line(f"{number}{place}", line) for place, line in enumerate(lines)],
        }

    def take_back(self, number: str, place: int, count: int) -> None:
        """Refund pieces of a line."""
        order = self.orders[number]
        order["lines"][place]["currentQuantity"] -= count
        order["updatedAt"] = self._tick()

    def add_tax(self, number: str, total: str, tax: str) -> None:
        """Let an order's total have taxes on top of its prices."""
        self.orders[number] |= {"taxesIncluded": False, "totalPriceSet": _money(total), "totalTaxSet": _money(tax)}

    def pay_back(self, number: str, amount: str, *, postage: str = "0.0") -> None:
        """Pay some of an order back, some of it for postage; no goods come back for it."""
        order = self.orders[number]
        order["totalRefundedShippingSet"] = _money(postage)
        paid = Decimal(order["totalRefundedSet"]["shopMoney"]["amount"]) + Decimal(amount)
        order["totalRefundedSet"] = _money(str(paid))
        order["updatedAt"] = self._tick()

    def cancel(self, number: str) -> None:
        """Cancel an order."""
        self.orders[number]["cancelledAt"] = self.orders[number]["updatedAt"] = self._tick()

    def order_body(self, number: str) -> bytes:
        """Return the order as webhooks hold it."""
        order = self.orders[number]
        customer = order["customer"] and {"id": _number(order["customer"])}
        return orjson.dumps(
            {
                "id": _number(order),
                "admin_graphql_api_id": order["id"],
                "name": f"#{number}",
                "created_at": order["createdAt"],
                "updated_at": order["updatedAt"],
                "cancelled_at": order["cancelledAt"],
                "currency": order["currencyCode"],
                "customer": customer,
                "line_items": [_rest_line(line) for line in order["lines"]],
                "taxes_included": order["taxesIncluded"],
                "total_price": order["totalPriceSet"]["shopMoney"]["amount"],
                "total_tax": order["totalTaxSet"]["shopMoney"]["amount"],
                "refunds": [
                    {
                        "refund_line_items": [],
                        "transactions": _transactions(order),
                        "order_adjustments": _adjustments(order),
                    }
                ],
            }
        )

    def customer_body(self, number: str) -> bytes:
        """Return the customer as webhooks hold it."""
        customer = self.customers[number]
        return orjson.dumps(
            {
                "id": _number(customer),
                "admin_graphql_api_id": customer["id"],
                "updated_at": customer["updatedAt"],
                "email": customer["defaultEmailAddress"]["emailAddress"],
                "phone": (customer["defaultPhoneNumber"] or {}).get("phoneNumber"),
                "first_name": customer["firstName"],
                "last_name": customer["lastName"],
            }
        )

    def refund_body(self, number: str) -> bytes:
        """Return a refund of the order, which names no customer."""
        return orjson.dumps(
            {
                "id": 1,
                "admin_graphql_api_id": "gid://shopify/Refund/1",
                "order_id": int(number),
                "refund_line_items": [],
            }
        )

    def deleted_body(self, number: str) -> bytes:
        """Return what is sent of a customer who is gone: ids, and fields that are empty."""
        gone: dict[str, object] = {"phone": None, "addresses": [], "tax_exemptions": []}
        return orjson.dumps({"id": int(number), **gone, "admin_graphql_api_id": f"gid://shopify/Customer/{number}"})

    def data_request_body(self, customer: str) -> bytes:
        """Return what is sent when a customer asks for what is stored."""
        asked = {"orders_requested": [], "data_request": {"id": 9999}}
        about = {"customer": {"id": int(customer), "email": "x@example.com"}}
        return orjson.dumps({"shop_id": 1, "shop_domain": self.shop_domain, **about, **asked})

    def redact_body(self, customer: str | None) -> bytes:
        """Return what is sent when a customer, or without one the shop, is to be forgotten."""
        body: dict[str, Any] = {"shop_id": 1, "shop_domain": self.shop_domain}
        if customer:
            body |= {"customer": {"id": int(customer), "email": "x@example.com"}, "orders_to_redact": []}
        return orjson.dumps(body)

    def _tick(self) -> str:
        self.now += timedelta(seconds=1)
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _token(self, asked: Asked) -> Answered:
        form = asked.form()
        known = (form.get("client_id"), form.get("client_secret")) == (self.client_id, self.client_secret)
        if not known or form.get("grant_type") != "client_credentials":
            return Answered(400, {"error": "application_cannot_be_found"})
        self.access_token = f"shpat_{len(self.access_token)}_renewed"
        return Answered(json={"access_token": self.access_token, "scope": "read_orders", "expires_in": 86399})

    def _graphql(self, asked: Asked) -> Answered:
        """Answer a query by its name; all fields of an object are given, whichever were selected."""
        posted = asked.json()
        cost = {
            "requestedQueryCost": _COST,
            "throttleStatus": {"maximumAvailable": _POINTS, "currentlyAvailable": _POINTS - _COST, "restoreRate": 50.0},
        }
        if self.throttled:
            self.throttled -= 1
            cost["throttleStatus"] |= {"currentlyAvailable": 0}  # type: ignore[operator]
            errors = [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]
            return Answered(json={"errors": errors, "extensions": {"cost": cost}})
        named = re.match(r"query (\w+)", posted["query"])
        answers: dict[str, Callable[[dict[str, Any]], object]] = {
            "Shop": lambda _: {"shop": {"myshopifyDomain": self.shop_domain}},
            "Order": lambda given: {"order": self._order(given)},
            "Orders": lambda given: {"orders": self._page(self.orders, given, self._node)},
            "Customer": lambda given: {"customer": self.customers.get(given["id"].rpartition("/")[2])},
            "Customers": lambda given: {"customers": self._page(self.customers, given, lambda one, _: one)},
        }
        assert named is not None
        data = answers[named[1]](posted["variables"])
        return Answered(json={"data": data, "extensions": {"cost": cost}})

    def _order(self, given: dict[str, Any]) -> dict[str, Any] | None:
        order = self.orders.get(given["id"].rpartition("/")[2])
        return None if order is None else self._node(order, given)

    def _node(self, order: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        start = int(given.get("after") or 0)
        end = start + min(given["lines"], self.page_size)
        info = {"hasNextPage": end < len(order["lines"]), "endCursor": str(end)}
        return order | {"lineItems": {"pageInfo": info, "nodes": order["lines"][start:end]}}

    def _page(
        self,
        of: Mapping[str, dict[str, Any]],
        given: dict[str, Any],
        node: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
    ) -> dict[str, Any]:
        """List by the time of the last change; a cursor is the time and id of the last one given out."""
        since = re.fullmatch(r"updated_at:>='(.+)'", given["query"])
        assert since is not None
        ordered = sorted((each for each in of.values() if each["updatedAt"] >= since[1]), key=_place)
        left = [each for each in ordered if "|".join(_place(each)) > (given["cursor"] or "")]
        page = left[: min(given["first"], self.page_size)]
        last = "|".join(_place(page[-1])) if page else None
        info = {"hasNextPage": len(page) < len(left), "endCursor": last}
        return {"pageInfo": info, "nodes": [node(each, given) for each in page]}


def _place(node: Mapping[str, Any]) -> tuple[str, str]:
    return node["updatedAt"], node["id"]


def _number(node: Mapping[str, Any]) -> int:
    return int(node["id"].rpartition("/")[2])


def _line(number: str, line: Mapping[str, Any]) -> dict[str, Any]:
    quantity = line.get("quantity", 1)
    product = line.get("product", "632910392")
    discount = line.get("discount")
    return {
        "id": f"gid://shopify/LineItem/{number}",
        "name": line.get("name", "Lantern"),
        "quantity": quantity,
        "currentQuantity": quantity,
        "product": {"id": f"gid://shopify/Product/{product}"} if product else None,
        "originalUnitPriceSet": {"shopMoney": {"amount": line["price"]}},
        "discountAllocations": [{"allocatedAmountSet": {"shopMoney": {"amount": discount}}}] if discount else [],
    }


def _transactions(order: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what was paid back as webhooks tell it, beside a payment that failed and one that is none."""
    refund = {"kind": "refund", "status": "success", "currency": order["currencyCode"]}
    return [
        refund | {"amount": order["totalRefundedSet"]["shopMoney"]["amount"]},
        refund | {"amount": "999.00", "status": "failure"},
        refund | {"amount": "999.00", "kind": "sale"},
    ]


def _adjustments(order: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what of the refunds was for no goods, as webhooks tell it."""
    postage = order["totalRefundedShippingSet"]["shopMoney"]["amount"]
    return [
        {"kind": "shipping_refund", "amount": f"-{postage}", "tax_amount": "-0.95"},
        {"kind": "refund_discrepancy", "amount": "-999.00", "tax_amount": "0.00"},
    ]


def _money(amount: str) -> dict[str, Any]:
    return {"shopMoney": {"amount": amount}}


def _rest_line(line: Mapping[str, Any]) -> dict[str, Any]:
    discounts = [Decimal(one["allocatedAmountSet"]["shopMoney"]["amount"]) for one in line["discountAllocations"]]
    return {
        "id": _number(line),
        "product_id": _number(line["product"]) if line["product"] else None,
        "name": line["name"],
        "quantity": line["quantity"],
        "current_quantity": line["currentQuantity"],
        "price": line["originalUnitPriceSet"]["shopMoney"]["amount"],
        "discount_allocations": [{"amount": str(amount)} for amount in discounts],
    }
