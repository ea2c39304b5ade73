"""Orders and customers as Shopify writes them: in webhooks as its REST resources, in its API as GraphQL objects.

Both come to the same events, so that a state that arrives both ways is one. An order is its lines, and what came back,
was removed or was cancelled once more with a negative quantity, and what was paid back for the goods: as the prices of
lines, without postage, and without taxes where the shop's prices are. All money is in the shop's own currency.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from services.crm.events import CustomerEvent, OrderEvent, OrderLine
from services.crm.providers.signatures import list_of, object_of, text_of, time_of
from services.crm.providers.snapshots import MOST_EMAIL, MOST_ID, MOST_NAME

_MOST_DECIMALS = 6
_MOST_TITLE = 500
_MOST_QUANTITY = 1_000_000
_MOST_PHONE = 50
_MOST_MONEY = Decimal(10) ** 10
_MOST_OF_LINE = Decimal(10) ** 12
_FIRST_TIME, _END_OF_TIME = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Between these lie the times that recommendations takes."""


@dataclass(frozen=True, slots=True)
class Item:
    """A line as it was bought: `price` is of one piece, `discount` of all; `left` of them were not given back."""

    product: str
    name: str
    quantity: int
    left: int
    price: Decimal
    discount: Decimal


def order_lines(items: Iterable[Item], *, cancelled: bool) -> Sequence[OrderLine]:
    """Return the lines of an order: what was bought, then what of it came back."""
    bought: list[OrderLine] = []
    returned: list[OrderLine] = []
    for item in items:
        prices = _pieces(item)
        bought += [OrderLine(item.product, item.name, count, price) for count, price in prices]
        back = item.quantity if cancelled else item.quantity - max(0, min(item.left, item.quantity))
        for count, price in prices:
            if taken := min(back, count):
                returned.append(OrderLine(item.product, item.name, -taken, price))
                back -= taken
    return [*bought, *returned]


def _pieces(item: Item) -> Sequence[tuple[int, Decimal]]:
    """Return how many pieces cost how much, so that the sum is that of the line to its last digit.

    A discount on three pieces may not be divisible by three: some pieces then cost one unit more than the others.
    """
    total = max(Decimal(0), item.price * item.quantity - item.discount)
    places = min(_MOST_DECIMALS, max(_decimals(item.price), _decimals(item.discount)))
    each, more = divmod(int(total.scaleb(places)), item.quantity)
    counts = ((item.quantity - more, each), (more, each + 1))
    return [(count, Decimal(units).scaleb(-places)) for count, units in counts if count]


def _decimals(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def order_of_webhook(order: Mapping[str, Any]) -> OrderEvent | None:
    """Return the order that a webhook holds; None when it is none, or of nobody who could be named."""
    refunded = _refunded(order)
    items = []
    for line in map(object_of, list_of(order.get("line_items"))):
        quantity = _count(line.get("quantity"))
        left = line.get("current_quantity")
        items.append(
            Item(
                product=_product(line.get("product_id"), line.get("id")),
                name=text_of(line.get("name") or line.get("title"), _MOST_TITLE),
                quantity=quantity,
                left=_count(left) if isinstance(left, int) else quantity - refunded.get(text_of(line.get("id")), 0),
                price=_amount(line.get("price")),
                discount=sum(
                    (_amount(object_of(one).get("amount")) for one in list_of(line.get("discount_allocations"))),
                    Decimal(0),
                ),
            )
        )
    return _order(
        order.get("id"),
        object_of(order.get("customer")).get("id"),
        (order.get("created_at"), order.get("updated_at")),
        order.get("currency"),
        items,
        cancelled=order.get("cancelled_at"),
        refunded=goods_of_refund(
            _paid_back(order),
            _postage_paid_back(order),
            _amount(order.get("total_price")),
            Decimal(0) if order.get("taxes_included") else _amount(order.get("total_tax")),
        ),
    )


def order_of_api(order: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> OrderEvent | None:
    """Return the order that the API shows, with all its lines; None when it is of nobody who could be named."""
    items = [
        Item(
            product=_product(number_of(object_of(line.get("product")).get("id")), number_of(line.get("id"))),
            name=text_of(line.get("name"), _MOST_TITLE),
            quantity=_count(line.get("quantity")),
            left=_count(line.get("currentQuantity")),
            price=_shop_money(line.get("originalUnitPriceSet")),
            discount=sum(
                (
                    _shop_money(object_of(one).get("allocatedAmountSet"))
                    for one in list_of(line.get("discountAllocations"))
                ),
                Decimal(0),
            ),
        )
        for line in lines
    ]
    return _order(
        number_of(order.get("id")),
        number_of(object_of(order.get("customer")).get("id")),
        (order.get("createdAt"), order.get("updatedAt")),
        order.get("currencyCode"),
        items,
        cancelled=order.get("cancelledAt"),
        refunded=goods_of_refund(
            _shop_money(order.get("totalRefundedSet")),
            _shop_money(order.get("totalRefundedShippingSet")),
            _shop_money(order.get("totalPriceSet")),
            Decimal(0) if order.get("taxesIncluded") else _shop_money(order.get("totalTaxSet")),
        ),
    )


def customer_of_webhook(customer: Mapping[str, Any]) -> CustomerEvent | None:
    """Return the customer that a webhook holds; None when it is none."""
    names = (customer.get("first_name"), customer.get("last_name"))
    return _customer(
        customer.get("id"), customer.get("updated_at"), customer.get("email"), names, customer.get("phone")
    )


def customer_of_api(customer: Mapping[str, Any]) -> CustomerEvent | None:
    """Return the customer that the API shows; None when it is none."""
    email = object_of(customer.get("defaultEmailAddress")).get("emailAddress")
    names = (customer.get("firstName"), customer.get("lastName"))
    phone = object_of(customer.get("defaultPhoneNumber")).get("phoneNumber")
    return _customer(number_of(customer.get("id")), customer.get("updatedAt"), email, names, phone)


def number_of(gid: object) -> str:
    """Return the number at the end of a global id, `gid://shopify/Order/1`; empty when it is none."""
    number = text_of(gid).rpartition("/")[2]
    return number if number.isascii() and number.isdecimal() else ""


def _order(
    number: object,
    customer: object,
    times: tuple[object, object],
    currency: object,
    items: Iterable[Item],
    *,
    cancelled: object,
    refunded: Decimal,
) -> OrderEvent | None:
    order, buyer, code = text_of(number, MOST_ID), text_of(customer, MOST_ID), text_of(currency)
    placed, changed = map(_time, times)
    lines = order_lines((item for item in items if item.quantity), cancelled=bool(cancelled))
    if not (order and buyer and placed and len(code) == len("EUR") and lines):
        return None
    if any(abs(line.quantity) * line.unit_price > _MOST_OF_LINE for line in lines):
        return None
    ended = (_time(cancelled) or changed or placed) if cancelled else None
    return OrderEvent(order, buyer, placed, changed or placed, code, lines, refunded, ended)


def goods_of_refund(paid: Decimal, postage: Decimal, total: Decimal, tax: Decimal) -> Decimal:
    """Return what of a refund is for goods: less the taxes that the order's total holds, and less postage.

    `total` is the order's with postage and taxes; `tax` is what of it comes on top of the prices, taken to be spread
    evenly. `postage` is what was paid back for it, without taxes.
    """
    share = 1 - min(tax, total) / total if total else Decimal(1)
    goods = min(max(paid * share - postage, Decimal(0)), _MOST_MONEY - 1)
    return goods.quantize(Decimal(1).scaleb(-_MOST_DECIMALS)).normalize() + 0


def _time(value: object) -> datetime | None:
    """Return a time that recommendations takes; None for what is none."""
    found = time_of(value)
    return found if found is not None and _FIRST_TIME <= found < _END_OF_TIME else None


def _customer(
    number: object, changed: object, email: object, names: Iterable[object], phone: object
) -> CustomerEvent | None:
    customer, time = text_of(number, MOST_ID), _time(changed)
    if not customer or time is None:
        return None
    name = " ".join(text for text in (text_of(each).strip() for each in names) if text)
    return CustomerEvent(
        customer, time, text_of(email, MOST_EMAIL), name[:MOST_NAME], text_of(phone, _MOST_PHONE), "shopify"
    )


def _refunded(order: Mapping[str, Any]) -> Mapping[str, int]:
    """Return how many pieces of each line were refunded; older versions of the API say it only there."""
    counts: dict[str, int] = {}
    for refund in map(object_of, list_of(order.get("refunds"))):
        for line in map(object_of, list_of(refund.get("refund_line_items"))):
            of = text_of(line.get("line_item_id"))
            counts[of] = counts.get(of, 0) + _count(line.get("quantity"))
    return counts


def _paid_back(order: Mapping[str, Any]) -> Decimal:
    """Return what the successful refunds of an order paid back in its currency."""
    paid = [
        _amount(transaction.get("amount"))
        for refund in map(object_of, list_of(order.get("refunds")))
        for transaction in map(object_of, list_of(refund.get("transactions")))
        if transaction.get("kind") == "refund"
        and transaction.get("status") == "success"
        and text_of(transaction.get("currency")) in {"", text_of(order.get("currency"))}
    ]
    return sum(paid, Decimal(0))


def _postage_paid_back(order: Mapping[str, Any]) -> Decimal:
    """Return what of the refunds of an order was for postage; they say it as a negative adjustment."""
    paid = [
        _amount(text_of(adjustment.get("amount")).removeprefix("-"))
        for refund in map(object_of, list_of(order.get("refunds")))
        for adjustment in map(object_of, list_of(refund.get("order_adjustments")))
        if adjustment.get("kind") == "shipping_refund"
    ]
    return sum(paid, Decimal(0))


def _product(product: object, line: object) -> str:
    """Return the product's number; an item that is none of the catalogue is known by its line."""
    return text_of(product, MOST_ID) or f"line-{text_of(line, MOST_ID - 5)}"


def _count(value: object) -> int:
    return min(value, _MOST_QUANTITY) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _shop_money(bag: object) -> Decimal:
    return _amount(object_of(object_of(bag).get("shopMoney")).get("amount"))


def _amount(value: object) -> Decimal:
    """Return an amount of money, zero for what is none."""
    try:
        amount = Decimal(text_of(value))
    except InvalidOperation:
        return Decimal(0)
    return amount if amount.is_finite() and 0 <= amount < _MOST_MONEY else Decimal(0)
