"""Calling Shopify's GraphQL Admin API: orders and customers are read, nothing is written.

By default an app sees the orders of sixty days; older ones take the scope `read_all_orders`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from services.crm.events import CustomerErasure, Event
from services.crm.providers.api import (
    ApiError,
    Call,
    Change,
    Changes,
    Config,
    CredentialField,
    Credentials,
    CredentialShape,
    Pace,
    Renewed,
    Reply,
    Steps,
)
from services.crm.providers.logins import complete, no_credentials, setting
from services.crm.providers.replies import object_in
from services.crm.providers.shopify_orders import customer_of_api, number_of, order_of_api
from services.crm.providers.signatures import json_object, list_of, object_of, text_of

VERSION = "2026-10"
"""The version of the API that all calls ask for."""

ORDER, CUSTOMER, GONE = "order/", "customer/", "gone/"
"""How the ids begin by which things are fetched; a customer who was told to be gone is forgotten when it is so."""

# A query may cost a thousand points: an object is one, and a list as much as it may hold.
_ORDERS = 10
_LINES = 10
_MORE_LINES = 100
_CUSTOMERS = 100
_MOST_PAGES = 50
_MOST_TRIES = 5
_REFUSED = frozenset({400, 401})

_TOKEN = CredentialShape(
    "access_token",
    (
        CredentialField("shop_domain", secret=False, description="the shop's own domain, ….myshopify.com"),
        CredentialField("access_token", secret=True, description="the app's access token for the Admin API"),
    ),
)
_CLIENT = CredentialShape(
    "client_credentials",
    (
        CredentialField("shop_domain", secret=False, description="the shop's own domain, ….myshopify.com"),
        CredentialField("client_id", secret=False, description="the app's client id"),
        CredentialField("client_secret", secret=True, description="the app's client secret"),
    ),
)

_ORDER_FIELDS = """
  id createdAt updatedAt cancelledAt currencyCode customer { id } taxesIncluded
  totalPriceSet { shopMoney { amount } } totalTaxSet { shopMoney { amount } }
  totalRefundedSet { shopMoney { amount } } totalRefundedShippingSet { shopMoney { amount } }
  lineItems(first: $lines, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes {
      id name quantity currentQuantity product { id }
      originalUnitPriceSet { shopMoney { amount } }
      discountAllocations { allocatedAmountSet { shopMoney { amount } } }
    }
  }"""
_CUSTOMER_FIELDS = (
    "id updatedAt firstName lastName defaultEmailAddress { emailAddress } defaultPhoneNumber { phoneNumber }"
)
_SHOP = "query Shop { shop { myshopifyDomain } }"
_ONE_ORDER = f"query Order($id: ID!, $lines: Int!, $after: String) {{ order(id: $id) {{{_ORDER_FIELDS} }} }}"
_MANY_ORDERS = f"""query Orders($query: String!, $first: Int!, $cursor: String, $lines: Int!, $after: String) {{
  orders(query: $query, first: $first, after: $cursor, sortKey: UPDATED_AT) {{
    pageInfo {{ hasNextPage endCursor }} nodes {{{_ORDER_FIELDS} }}
  }}
}}"""
_ONE_CUSTOMER = f"query Customer($id: ID!) {{ customer(id: $id) {{ {_CUSTOMER_FIELDS} }} }}"
_MANY_CUSTOMERS = f"""query Customers($query: String!, $first: Int!, $cursor: String) {{
  customers(query: $query, first: $first, after: $cursor, sortKey: UPDATED_AT) {{
    pageInfo {{ hasNextPage endCursor }} nodes {{ {_CUSTOMER_FIELDS} }}
  }}
}}"""


class ShopifyApi:
    """Shopify's Admin API."""

    shapes: Sequence[CredentialShape] = (_TOKEN, _CLIENT)
    apexes = frozenset({"myshopify.com"})
    can: frozenset[type[Change]] = frozenset()

    def origin(self, config: Config) -> str:
        """Return the shop's own host."""
        return f"https://{setting(config, 'shop_domain')}"

    def authorization(self, _config: Config, credentials: Credentials) -> Mapping[str, str]:
        """Log in by the access token, given or got for the app's own credentials."""
        token = credentials.get("access_token")
        if not token:
            raise no_credentials()
        return {"x-shopify-access-token": token}

    def renew(self, config: Config, credentials: Credentials) -> Steps[Renewed] | None:
        """Get a token for the app's own credentials, which lives a day; a token that was given alone stays."""
        return _renew(config["client_id"], credentials) if complete(_CLIENT, config, credentials) else None

    def account(self, _config: Config) -> Steps[str]:
        """Ask which shop it is."""
        return text_of(object_of((yield from _query(_SHOP, {})).get("shop")).get("myshopifyDomain")).lower()

    def ticket(self, _config: Config, ticket: str) -> Steps[Sequence[Event]]:
        """Fetch an order or a customer. One that is not this shop's has nothing to say, whoever named it."""
        kind = next((kind for kind in (GONE, ORDER, CUSTOMER) if ticket.startswith(kind)), "")
        number = number_of(ticket)
        if not kind or not number:
            raise ApiError("TICKET_NOT_FOUND")
        if kind == ORDER:
            asked = {"id": f"gid://shopify/Order/{number}", "lines": _MORE_LINES, "after": None}
            order = object_of((yield from _query(_ONE_ORDER, asked)).get("order"))
            return (yield from _orders([order])) if order else ()
        asked = {"id": f"gid://shopify/Customer/{number}"}
        customer = object_of((yield from _query(_ONE_CUSTOMER, asked)).get("customer"))
        if customer:
            event = customer_of_api(customer)
            return () if event is None else (event,)
        return (CustomerErasure(number),) if kind == GONE else ()

    def changes(self, _config: Config, since: datetime, cursor: str | None) -> Steps[Changes]:
        """Read a page of the orders that changed since a time, and after all of them of the customers."""
        kind, _, after = (cursor or "orders:").partition(":")
        asked: dict[str, object] = {
            "query": f"updated_at:>='{since.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}'",
            "cursor": after or None,
        }
        events: list[Event] = []
        if kind == "orders":
            asked |= {"first": _ORDERS, "lines": _LINES, "after": None}
            page = object_of((yield from _query(_MANY_ORDERS, asked)).get("orders"))
            events += yield from _orders([object_of(each) for each in list_of(page.get("nodes"))])
        else:
            page = object_of((yield from _query(_MANY_CUSTOMERS, asked | {"first": _CUSTOMERS})).get("customers"))
            found = (customer_of_api(object_of(each)) for each in list_of(page.get("nodes")))
            events += [event for event in found if event is not None]
        if later := _next(page):
            return Changes(events, f"{kind}:{later}")
        return Changes(events, "customers:" if kind == "orders" else None)

    def write(self, _config: Config, _ticket: str, change: Change) -> Steps[bool]:
        """Refuse: a shop system has no tickets."""
        yield from ()
        raise ApiError("CHANGE_NOT_SUPPORTED", f"Shopify has no {type(change).__name__}")

    def pace(self, reply: Reply) -> Pace | None:
        """Read from the answer's own account of its cost how many such queries there are points for."""
        cost = object_of(object_of((json_object(reply.body) or {}).get("extensions")).get("cost"))
        status = object_of(cost.get("throttleStatus"))
        asked, left, restored = (
            float(value) if isinstance(value, int | float) else 0.0
            for value in (cost.get("requestedQueryCost"), status.get("currentlyAvailable"), status.get("restoreRate"))
        )
        if asked <= 0 or restored <= 0:
            return None
        return Pace(int(left // asked), max(0.0, (asked - left) / restored))


def _query(text: str, variables: Mapping[str, object]) -> Steps[Mapping[str, Any]]:
    """Ask, and return the answer's data. Who asks too fast is told so in an answer of status 200, and waits its pace.

    Raises:
        ApiError: the query is refused.
    """
    for _ in range(_MOST_TRIES):
        body = {"query": text, "variables": dict(variables)}
        answer = object_in((yield Call("POST", f"/admin/api/{VERSION}/graphql.json", json=body, repeatable=True)))
        codes = {
            text_of(object_of(object_of(error).get("extensions")).get("code"))
            for error in list_of(answer.get("errors"))
        }
        if not answer.get("errors"):
            return object_of(answer.get("data"))
        if "THROTTLED" not in codes:
            reason = "CREDENTIALS_INSUFFICIENT" if "ACCESS_DENIED" in codes else "CALL_REFUSED"
            raise ApiError(reason, "Shopify refuses the query: " + ", ".join(sorted(codes - {""})))
    raise ApiError("RATE_LIMITED", "Shopify lets the query wait again and again")


def _orders(orders: Sequence[Mapping[str, Any]]) -> Steps[list[Event]]:
    """Return orders with all their lines, of which an answer holds only the first."""
    events: list[Event] = []
    for order in orders:
        page = object_of(order.get("lineItems"))
        lines = [object_of(each) for each in list_of(page.get("nodes"))]
        for _ in range(_MOST_PAGES):
            later = _next(page)
            if not later:
                break
            asked = {"id": text_of(order.get("id")), "lines": _MORE_LINES, "after": later}
            more = object_of((yield from _query(_ONE_ORDER, asked)).get("order"))
            page = object_of(more.get("lineItems"))
            lines += [object_of(each) for each in list_of(page.get("nodes"))]
        event = order_of_api(order, lines)
        if event is not None:
            events.append(event)
    return events


def _next(page: Mapping[str, Any]) -> str:
    info = object_of(page.get("pageInfo"))
    return text_of(info.get("endCursor")) if info.get("hasNextPage") is True else ""


def _renew(client: str, credentials: Credentials) -> Steps[Renewed]:
    form = (
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_secret", credentials["client_secret"]),
    )
    reply = yield Call("POST", "/admin/oauth/access_token", form=form, expects=_REFUSED, repeatable=True)
    if reply.status in _REFUSED:
        raise ApiError(
            "CREDENTIALS_REFUSED", "the app's id or secret is not accepted, or the shop has not installed it"
        )
    answer = object_in(reply)
    token, lifetime = text_of(answer.get("access_token")), answer.get("expires_in")
    if not token:
        raise ApiError("ANSWER_NOT_UNDERSTOOD", "there is no access token in the answer")
    return Renewed({"access_token": token}, lifetime if isinstance(lifetime, int) else None)


SHOPIFY_API = ShopifyApi()
"""The one instance."""
