"""What moves, page by page: each ticket and order with the shop that it goes to and what Rapport would say of it.

The plan counts by this, the run sends by it and the check afterwards reads by it, so that all three agree.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from cli.migration.judging import Judged, judge
from cli.migration.mapping import Placement, Rules, place_order, place_ticket
from cli.migration.ownership import Owners
from cli.migration.rows import SourceOrder, SourceTicket
from cli.migration.sales import SaleError, order_rows
from cli.migration.source import Source
from cli.order_row import OrderRow


@dataclass(frozen=True, slots=True)
class MovingTicket:
    """A ticket of the source, whose it is, and how it moves; `judged.ticket` is None where it stays behind."""

    source: SourceTicket
    placed: Placement
    judged: Judged

    @property
    def moves(self) -> bool:
        """Whether it goes to a shop."""
        return bool(self.placed.slug) and self.judged.ticket is not None


@dataclass(frozen=True, slots=True)
class MovingOrder:
    """An order of the source, whose it is, and its lines as they are imported; `problem` says why it stays behind."""

    source: SourceOrder
    placed: Placement
    lines: Sequence[OrderRow] = ()
    problem: str = ""

    @property
    def moves(self) -> bool:
        """Whether it goes to a shop."""
        return bool(self.placed.slug) and not self.problem


async def moving_tickets(
    source: Source, owners: Owners, rules: Rules, after: UUID | None = None, limit: int = 500
) -> AsyncGenerator[list[MovingTicket], None]:
    """Give pages of all tickets in the order of their ids, from behind `after` on."""
    async with aclosing(source.tickets(after, limit)) as pages:
        async for page in pages:
            yield judged_tickets(page, owners, rules)


def judged_tickets(tickets: Iterable[SourceTicket], owners: Owners, rules: Rules) -> list[MovingTicket]:
    """Place and judge tickets."""
    page = list(tickets)
    known = owners.of(ticket.customer for ticket in page)
    return [
        MovingTicket(
            ticket,
            place_ticket(rules, known.get(ticket.customer) if ticket.customer else None, ticket.tags, ticket.texts),
            judge(ticket, rules),
        )
        for ticket in page
    ]


async def moving_orders(
    source: Source, owners: Owners, rules: Rules, after: str = "", limit: int = 500
) -> AsyncGenerator[list[MovingOrder], None]:
    """Give lists of all orders in the order of their ids, from behind `after` on."""
    async with aclosing(source.orders(after, limit)) as pages:
        async for page in pages:
            yield judged_orders(page, owners, rules)


def judged_orders(orders: Iterable[SourceOrder], owners: Owners, rules: Rules) -> list[MovingOrder]:
    """Place orders and put them into lines."""
    page = list(orders)
    known = owners.of(order.customer for order in page)
    return [_order(order, known.get(order.customer) if order.customer else None, rules) for order in page]


def _order(order: SourceOrder, customer: Placement | None, rules: Rules) -> MovingOrder:
    placed = place_order(rules, customer)
    try:
        return MovingOrder(order, placed, order_rows(order, currency=rules.currency, net=rules.net))
    except SaleError as error:
        return MovingOrder(order, placed, problem=str(error))
