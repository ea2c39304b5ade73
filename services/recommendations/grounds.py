"""The facts that a draft may rest on, each a plain English sentence with an id that stays the same.

What the shop knows of a customer for itself alone - value, churn, segments - is no such fact.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypedDict

from services.recommendations import facts, plain
from services.recommendations.case import Case, Order, Parcel, Passage

Kind = Literal["order", "parcel", "customer", "product", "policy", "article"]


class FactJson(TypedDict):
    """A fact as answers carry it."""

    id: str
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact. The id begins with the kind and names what it is about, for example "order.536365.placed_on"."""

    id: str
    kind: Kind
    text: str

    def to_json(self) -> FactJson:
        """Return the fact as answers carry it."""
        return {"id": self.id, "kind": self.kind, "text": self.text}


def facts_of(case: Case) -> tuple[Fact, ...]:
    """Return every fact that a draft on a case may rest on, no id twice."""
    found = [*_customer(case), *_order(case), *(passage_fact(passage) for passage in case.passages)]
    return tuple({fact.id: fact for fact in found}.values())


def passage_fact(passage: Passage) -> Fact:
    """Return the fact that an article or a policy of the shop says something.

    The id ends in a digest of the words, so that it names the same words wherever they stand among what was found.
    """
    digest = hashlib.sha256(passage.text.encode()).hexdigest()[:8]
    page = f" ({passage.url})" if passage.url else ""
    said = f'The shop\'s {passage.kind} "{passage.title}"{page} says: {passage.text}'
    return Fact(f"{passage.kind}.{passage.article_id}.{digest}", passage.kind, said)


def _customer(case: Case) -> Iterator[Fact]:
    if case.customer_name:
        yield Fact("customer.name", "customer", f"The customer's name is {case.customer_name}.")
    if case.customer is not None and case.customer.total_orders:
        count = case.customer.total_orders
        orders = "1 order" if count == 1 else f"{count} orders"
        yield Fact("customer.total_orders", "customer", f"The customer has placed {orders} with the shop.")
    if case.unknown_reference:
        unknown = case.repeatable_reference
        text = f"No order {unknown} of this customer is known." if unknown else "The order that was named is not known."
        yield Fact("order.unknown", "order", text)


def _order(case: Case) -> Iterator[Fact]:
    order = case.order
    if order is None:
        return
    about = f"order.{order.order_id}"
    yield Fact(f"{about}.placed_on", "order", f"Order {order.order_id} was placed on {facts.day(order.placed_on)}.")
    if not case.order_named:
        newest = f"Order {order.order_id} is the customer's newest; the customer named none that is known."
        yield Fact(f"{about}.newest", "order", newest)
    yield from _money(order, about)
    for place, title in enumerate(order.products, start=1):
        if plain.is_plain(title):
            yield Fact(f"product.{order.order_id}.{place}", "product", f'Order {order.order_id} holds "{title}".')
    for parcel in order.parcels:
        yield from _parcel(order, parcel)


def _money(order: Order, about: str) -> Iterator[Fact]:
    if order.total_minor is not None and order.currency:
        total = facts.amount(order.total_minor, order.currency)
        yield Fact(f"{about}.total", "order", f"The total of order {order.order_id} is {total}.")
    if order.cancelled:
        yield Fact(f"{about}.cancelled", "order", f"Order {order.order_id} was cancelled.")
    elif order.cancelled_minor and order.currency:
        part = facts.amount(order.cancelled_minor, order.currency)
        yield Fact(f"{about}.cancelled", "order", f"{part} of order {order.order_id} was cancelled.")
    if order.refunded_minor and order.currency:
        part = facts.amount(order.refunded_minor, order.currency)
        yield Fact(f"{about}.refunded", "order", f"{part} of order {order.order_id} was refunded.")
    elif order.total_minor is not None:
        yield Fact(f"{about}.refunded", "order", f"No refund of order {order.order_id} is known.")


def _parcel(order: Order, parcel: Parcel) -> Iterator[Fact]:
    about = f"parcel.{parcel.tracking_number}"
    where = facts.parcel_where(parcel)
    yield Fact(f"{about}.state", "parcel", f"{where[:-1]}; it belongs to order {order.order_id}.")
    if plain.is_page(parcel.tracking_url):
        page = f"Parcel {parcel.tracking_number} can be followed at {parcel.tracking_url}"
        yield Fact(f"{about}.page", "parcel", page)
