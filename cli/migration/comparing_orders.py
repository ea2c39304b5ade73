"""Order by order: what the source says of each order that moves, held against what Rapport has of it now."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from rapport.recommendations.v1 import order_service_pb2

from cli.migration.mapping import WORDS
from cli.migration.moving import moving_orders
from cli.migration.ownership import Owners
from cli.migration.plan import Plan
from cli.migration.report import Finding, Section, bounded
from cli.migration.sayings import Advance, Sayings, difference, named, whereabouts
from cli.migration.source import Source
from cli.migration.target import Target
from cli.order_row import Moment, OrderRow
from servicekit.money import minor_units
from servicekit.order_digest import order_digest
from servicekit.ticket_digest import combined

_PAGE = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class OrderSums:
    """One side's sums of a shop."""

    orders: int = 0
    lines: int = 0
    checksum: str = field(default_factory=lambda: combined([]))

    def add(self, digest: str, lines: int) -> None:
        """Add an order."""
        self.orders += 1
        self.lines += lines
        self.checksum = combined([self.checksum, digest])


@dataclass(slots=True)
class OrderDifference:
    """What is not the same on both sides of a shop, by ids.

    `told` is what differs or is too much and what a sender told the time of change of: the shop system's connection, or
    somebody who imported such times. A migration tells none, so what is left of `surplus` may have come either way.
    """

    old: OrderSums = field(default_factory=OrderSums)
    new: OrderSums = field(default_factory=OrderSums)
    missing: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


class SaidOrders(Sayings):
    """What the source says of all orders that move."""

    def __init__(self) -> None:
        super().__init__("lines")

    async def read(self, source: Source, owners: Owners, plan: Plan, advance: Advance) -> None:
        """Read the source once."""
        total = plan.origin.rows.get("combined_sales", 0)
        async with aclosing(moving_orders(source, owners, plan.rules)) as pages:
            async for page in pages:
                rows = []
                for order in page:
                    self.seen += 1
                    if not order.moves:
                        self.left[order.problem if order.placed.slug else WORDS[order.placed.reason]] += 1
                        continue
                    rows.append((order.placed.slug, order.source.id, digest_of(order.lines), len(order.lines)))
                self.keep(rows)
                advance("order lines of the source", sum(len(order.source.lines) for order in page), total)

    def shop(self, slug: str) -> OrderSums:
        """Return the sums of a shop."""
        sums = OrderSums()
        for row in self._base.execute("SELECT digest, lines FROM said WHERE shop = ?", (slug,)):
            sums.add(*row)
        return sums


def digest_of(rows: Sequence[OrderRow]) -> str:
    """Return the checksum that an order of these lines has in Rapport once they are imported."""
    first = rows[0]
    return order_digest(
        first.customer_id,
        _time((first.seconds, first.nanos)),
        first.currency,
        [(row.product_id, row.product_name, row.quantity, minor_units(row.unit_price, row.currency)) for row in rows],
        max(minor_units(row.refunded or "0", row.currency) for row in rows),
        max((_time(row.cancelled) for row in rows if row.cancelled is not None), default=None),
    )


async def compare_orders(target: Target, slug: str, said: SaidOrders) -> OrderDifference:
    """Hold a shop's orders in Rapport against what the source said."""
    found = OrderDifference(old=said.shop(slug))
    token = ""
    while True:
        request = order_service_pb2.ChecksumOrdersRequest(page_size=_PAGE, page_token=token)
        page = await target.call(slug, target.orders.ChecksumOrders, request)
        known = said.meet(slug, [one.order_id for one in page.checksums])
        for one in page.checksums:
            found.new.add(one.digest, one.line_count)
            if known.get(one.order_id) != one.digest:
                kind = found.different if one.order_id in known else found.surplus
                (found.told if one.HasField("change_time") else kind).append(one.order_id)
        token = page.next_page_token
        if not token:
            found.missing = said.unmet(slug)
            return found


def orders_section(plan: Plan, said: SaidOrders, found: Mapping[str, OrderDifference]) -> Section:
    """Judge what was found of all shops."""
    orders = f"{sum(one.new.orders for one in found.values()):,} orders of {len(found)} shops"
    rows = partial(named, found)
    return Section(
        "Orders",
        (
            whereabouts("orders", plan, said, sum(one.old.orders for one in found.values())),
            difference("no order is missing", rows("missing"), orders, "Run `rapport migrate run --finish`."),
            difference(
                "every order says the same on both sides",
                rows("different"),
                orders,
                "Run `rapport migrate run --finish`: it reads all orders once more. What the source took back of "
                "refunds and cancellations stays here.",
            ),
            difference(
                "Rapport has no order that the source has not",
                rows("surplus"),
                orders,
                "The source lost them since, or somebody imported them here: no import says where it is from, so that "
                "nothing tells which.",
                "yellow",
            ),
            _told(rows("told")),
        ),
    )


def _told(rows: list[str]) -> Finding:
    return Finding(
        "orders that differ because the shop told something newer are known as such",
        "yellow" if rows else "green",
        f"{len(rows):,} orders that differ or that the source has not came with a time of change",
        "Compare some with the shop system: its connection tells such times, `rapport migrate run` does not.",
        bounded(rows),
    )


def _time(moment: Moment) -> datetime:
    seconds, nanos = moment
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
