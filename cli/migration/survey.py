"""Counting what moves and what stays: every customer, ticket and order of the source is placed and judged once."""

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from cli.migration.mapping import WORDS, Placement, Rules
from cli.migration.moving import MovingOrder, MovingTicket, moving_orders, moving_tickets
from cli.migration.ownership import Owners
from cli.migration.plan import Group
from cli.migration.rows import SourceOrder
from cli.migration.source import Source

_EXAMPLES = 20
_DISAGREE = frozenset({"conflict", "rules_disagree"})

Advance = Callable[[str, int], None]
"""Is told what was looked at, and how many rows more."""


class Groups:
    """Rows by kind and reason: how many, and the first few."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str, str]] = Counter()
        self._examples: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)

    def add(self, what: str, table: str, reason: str, text: str, example: str, count: int = 1) -> None:
        """Note rows."""
        key = (what, table, reason, text)
        self._counts[key] += count
        if example and len(self._examples[key]) < _EXAMPLES:
            self._examples[key].append(example)

    def all(self) -> tuple[Group, ...]:
        """Return them, the largest first."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Group(*key, count=count, examples=tuple(self._examples[key])) for key, count in ordered if count)


@dataclass
class Survey:
    """What was found, by shop and by reason.

    Attributes:
        counts: what moves, by shop and by kind.
        unmapped: rows whose shop nobody knows.
        conflicts: rows of several shops.
        invalid: rows that Rapport does not take.
        adapted: rows that move with a change.
        gross: how many orders add up to their total with the discount taken off.
        net: how many add up to it as their lines stand.
        totalled: how many orders say a total at all.
    """

    rules: Rules
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unmapped: Groups = field(default_factory=Groups)
    conflicts: Groups = field(default_factory=Groups)
    invalid: Groups = field(default_factory=Groups)
    adapted: Groups = field(default_factory=Groups)
    gross: int = 0
    net: int = 0
    totalled: int = 0

    def customers(self, source: Source, owners: Owners) -> None:
        """Count the customers of the tables of customers and sales; whom only tickets name comes with the tickets."""
        table = str(source.places.get("fact_customer_current") or source.places["tickets"])
        for customer, placed in owners.all():
            if placed.slug:
                self.counts[placed.slug]["customers"] += 1
            else:
                self._left("customers", table, customer, placed)

    async def tickets(self, source: Source, owners: Owners, advance: Advance) -> None:
        """Place and judge every ticket."""
        table = str(source.places["tickets"])
        async with aclosing(moving_tickets(source, owners, self.rules)) as pages:
            async for page in pages:
                for ticket in page:
                    self._ticket(table, ticket)
                advance("tickets", len(page))

    async def orders(self, source: Source, owners: Owners, advance: Advance) -> None:
        """Place and judge every order."""
        if "combined_sales" not in source.places:
            return
        table = str(source.places["combined_sales"])
        async with aclosing(moving_orders(source, owners, self.rules)) as pages:
            async for page in pages:
                for order in page:
                    self._order(table, order)
                    self._total(order.source)
                advance("order lines", sum(len(order.source.lines) for order in page))

    def _ticket(self, table: str, moving: MovingTicket) -> None:
        key = f"{moving.source.number or moving.source.id}"
        placed, judged = moving.placed, moving.judged
        if not placed.slug:
            self._left("tickets", table, key, placed)
            return
        if judged.ticket is None:
            self.invalid.add("tickets", table, "ticket_invalid", judged.problem, key)
            return
        for change in judged.changes:
            self.adapted.add("tickets", table, "word", change, key)
        for row, problem in judged.left_out:
            self.invalid.add("messages", table, "text_invalid", problem, f"{row} of {key}")
        counts = self.counts[placed.slug]
        counts["tickets"] += 1
        counts["messages"] += len(judged.ticket.messages)
        counts["notes"] += len(judged.ticket.notes)

    def _order(self, table: str, order: MovingOrder) -> None:
        key = order.source.id
        if not order.placed.slug:
            self._left("orders", table, key, order.placed)
        elif order.problem:
            self.invalid.add("orders", table, "order_invalid", order.problem, key)
        else:
            self.counts[order.placed.slug]["orders"] += 1
            self.counts[order.placed.slug]["order_lines"] += len(order.lines)

    def _total(self, order: SourceOrder) -> None:
        """Note which reading of the amounts agrees with what the order says it came to."""
        if order.total is None or any(line.sales is None for line in order.lines):
            return
        sales = sum(line.sales for line in order.lines if line.sales is not None)
        discounts = sum(line.discount for line in order.lines)
        self.totalled += 1
        self.gross += sales - discounts == order.total
        self.net += sales == order.total

    def _left(self, what: str, table: str, key: str, placed: Placement) -> None:
        groups = self.conflicts if placed.reason in _DISAGREE else self.unmapped
        told = [*placed.between, *placed.evidence]
        groups.add(what, table, placed.reason, WORDS[placed.reason], f"{key} ({', '.join(told)})" if told else key)
