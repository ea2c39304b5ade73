"""What counts of an order when both sides are compared, and what a comparison makes of each kind of difference."""

from collections import Counter
from dataclasses import replace

import pytest

from cli.migration.comparing_orders import OrderDifference, OrderSums, SaidOrders, digest_of, orders_section
from cli.migration.report import Finding
from cli.order_row import OrderRow
from tests.cli.migration.test_comparing import plan

ROW = OrderRow("1001", "17", 1_700_000_000, 5_000, "p-1", "Lantern", 2, "19.99", "EUR")
OTHER = replace(ROW, product_id="p-2", unit_price="5.00")


def judged(found: OrderDifference, *, seen: int, left: int = 0) -> dict[str, Finding]:
    """Return the findings about one shop, by the word that tells them apart."""
    with SaidOrders() as said:
        said.seen, said.left = seen, Counter({"a line has no amount": left} if left else {})
        findings = orders_section(plan(), said, {"acme": found}).findings
    return dict(zip(("orphans", "missing", "different", "surplus", "told"), findings, strict=True))


def both(orders: int) -> OrderDifference:
    """Return a shop whose sides are the same."""
    return OrderDifference(old=OrderSums(orders), new=OrderSums(orders))


def test_neither_the_order_of_lines_nor_what_is_rounded_away_counts() -> None:
    """Rapport keeps microseconds and whole minor units, half to even."""
    assert digest_of([ROW, OTHER]) == digest_of([OTHER, ROW])
    assert digest_of([replace(ROW, unit_price="19.985")]) == digest_of([replace(ROW, unit_price="19.98")])
    assert digest_of([replace(ROW, unit_price="19.995")]) == digest_of([replace(ROW, unit_price="20.00")])
    assert digest_of([replace(ROW, nanos=5_999)]) == digest_of([ROW])
    assert digest_of([replace(ROW, refunded="0.00")]) == digest_of([ROW])


@pytest.mark.parametrize(
    "other",
    [
        replace(ROW, customer_id="18"),
        replace(ROW, seconds=ROW.seconds + 1),
        replace(ROW, nanos=6_000),
        replace(ROW, product_id="p-2"),
        replace(ROW, product_name="Lamp"),
        replace(ROW, quantity=-2),
        replace(ROW, unit_price="19.98"),
        replace(ROW, currency="USD"),
        replace(ROW, refunded="0.01"),
        replace(ROW, cancelled=(ROW.seconds, 0)),
    ],
    ids=[
        "customer",
        "second",
        "microsecond",
        "product",
        "name",
        "quantity",
        "price",
        "currency",
        "refund",
        "cancelled",
    ],
)
def test_every_fact_counts(other: OrderRow) -> None:
    """An order that differs in any one has another checksum, and so has one with a line more."""
    assert digest_of([other]) != digest_of([ROW])
    assert digest_of([ROW, ROW]) != digest_of([ROW])


def test_the_same_on_both_sides_is_green() -> None:
    """Every finding, with how many were looked at."""
    found = judged(both(3), seen=3)
    assert {one.state for one in found.values()} == {"green"}
    assert found["missing"].evidence == "3 orders of 1 shops"


def test_each_kind_of_difference_is_said_with_its_ids() -> None:
    """What is missing or different is red; where nothing tells how it came, a person must look."""
    for kind, state in (("missing", "red"), ("different", "red"), ("surplus", "yellow"), ("told", "yellow")):
        shop = both(3)
        getattr(shop, kind).append("1001")
        found = judged(shop, seen=3)
        assert {name for name, one in found.items() if one.state != "green"} == {kind}
        assert (found[kind].state, found[kind].details) == (state, ("acme: 1001",))


def test_orders_that_neither_move_nor_stay_for_a_reason_are_red() -> None:
    """And more that stay behind than the plan said are for a person to look at."""
    assert judged(both(3), seen=4)["orphans"].state == "red"
    late = judged(both(3), seen=4, left=1)["orphans"]
    assert (late.state, late.details) == ("yellow", ("a line has no amount: 1",))
