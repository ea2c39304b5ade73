"""The rows of an invented predecessor database: who is a customer of which shop is known while they are made."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any
from uuid import UUID

from tests.support.predecessor_tables import Kind
from tests.support.predecessor_texts import ANSWERS, FIRST_NAMES, FURTHER, LAST_NAMES, LETTERS, NOTES, PRODUCTS

Row = tuple[Any, ...]

_FIRST_CUSTOMER = 6_100_000_000_001
_OLDEST_DAYS = 180
_QUIET_HOURS = frozenset(range(6))


@dataclass(frozen=True)
class BuiltShop:
    """A shop of the predecessor: its tenant there, its store, its helpdesk, and how many of all customers it has."""

    slug: str
    name: str
    tenant_id: UUID
    store: str
    provider: str
    account_name: str
    account: str
    share: int


def _shop(slug: str, name: str, number: int, provider: str, account_name: str, account: str, share: int) -> BuiltShop:
    return BuiltShop(slug, name, UUID(int=number, version=4), f"store-{number}", provider, account_name, account, share)


SHOPS = (
    _shop("harbour-yarns", "Harbour Yarns", 1, "gorgias", "gorgias_domain", "harbour-yarns.gorgias.com", 45),
    _shop("pedal-and-spoke", "Pedal & Spoke", 2, "zendesk", "zendesk_subdomain", "pedal-and-spoke", 25),
    _shop("green-teapot", "Green Teapot", 3, "intercom", "intercom_workspace_id", "gt_4711", 15),
    _shop("paper-lantern", "Paper Lantern", 4, "freshdesk", "freshdesk_domain", "paper-lantern.freshdesk.com", 10),
    _shop("north-woods", "North Woods", 5, "gorgias", "gorgias_domain", "north-woods.gorgias.com", 5),
)
"""The shops of a shared install, of unequal size."""

CLOSED_STORE = "store-9"
"""The store of a tenant that is not active any more: nobody mapped it."""


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer: `owner` is the shop that must come out, empty where there is none; `stores` is what rows say."""

    id: int
    owner: str
    case: str
    stores: tuple[str, ...]
    tenant_id: UUID | None
    account: BuiltShop | None


@dataclass
class Expected:
    """What a right plan finds, by shop and by what stays behind."""

    customers: Counter[str] = field(default_factory=Counter)
    tickets: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    ticket_ids: dict[str, list[UUID]] = field(default_factory=dict)
    unmapped: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[str] = field(default_factory=Counter)
    invalid: Counter[str] = field(default_factory=Counter)
    adapted: Counter[str] = field(default_factory=Counter)


class World:
    """Draws all rows in the order in which they are written; the same seed draws the same ones."""

    def __init__(self, kind: Kind, customers: int, tickets: int, seed: int, now: datetime) -> None:
        self.kind = kind
        self.shops = SHOPS if kind != "single" else SHOPS[:1]
        self.expected = Expected()
        self._draw = random.Random(seed)
        self._now = now.replace(tzinfo=None)
        self._tickets = tickets
        self.customers = [self._customer(number) for number in range(customers)]
        self._spent: dict[int, tuple[int, int]] = {}
        self.messages: list[Row] = []
        self.notes: list[Row] = []
        self.recommendations: list[Row] = []

    def _customer(self, number: int) -> Customer:
        shop = self._draw.choices(self.shops, [one.share for one in self.shops])[0]
        case, owner, stores = "placed", shop.slug, (shop.store,)
        if self.kind != "single":
            place = number % 1000
            if place < 5:
                case, owner, stores = "orphan", "", ()
            elif place < 8:
                case, owner, stores = "closed", "", (CLOSED_STORE,)
            elif place < 10:
                other = self._draw.choice([one for one in self.shops if one is not shop])
                case, owner, stores = "conflict", "", (shop.store, other.store)
        tenant = shop.tenant_id if self.kind == "half" and case == "placed" and number % 10 < 6 else None
        expected = self.expected
        if owner:
            expected.customers[owner] += 1
        elif case == "conflict":
            expected.conflicts["customers"] += 1
        else:
            expected.unmapped["customers"] += 1
        account = None if case in ("orphan", "closed") else shop
        return Customer(_FIRST_CUSTOMER + 7 * number, owner, case, stores, tenant, account)

    def sales(self) -> Iterator[Row]:
        """Draw the lines of all orders, and plant orders that nobody can take."""
        number = 0
        for customer in self.customers:
            orders = self._draw.choices((1, 2, 3, 6), (40, 30, 20, 10))[0]
            spent = 0
            for _ in range(orders):
                number += 1
                lines, total = self._order(number, customer.id)
                spent += total
                yield from lines
                self._expect_order(customer)
            self._spent[customer.id] = (spent, orders)
        yield from self._bad_orders(number)

    def _expect_order(self, customer: Customer) -> None:
        if customer.owner:
            self.expected.orders[customer.owner] += 1
        else:
            (self.expected.conflicts if customer.case == "conflict" else self.expected.unmapped)["orders"] += 1

    def _order(self, number: int, customer: int | None) -> tuple[list[Row], int]:
        count = self._draw.choices((1, 2, 3), (60, 30, 10))[0]
        at = self._now - timedelta(days=self._draw.uniform(1, 700))
        bought = []
        for product, name, price in self._draw.sample(PRODUCTS, count):
            quantity = self._draw.choices((1, 2, 3), (80, 15, 5))[0]
            sales = price * quantity
            discount = self._draw.choice((0, 0, 0, sales // 7))
            refund = sales - discount if self._draw.random() < 0.04 else 0
            bought.append((product, name, quantity, sales, discount, refund))
        total = sum(one[3] - one[4] for one in bought)
        items = sum(one[2] for one in bought)
        rows = [
            (
                *(f"{9_000_000 + number}", f"#{1000 + number}", customer, at, product, product, name, ""),
                *("goods", "all", quantity, _money(sales), _money(discount), _money(refund), "EUR", "web"),
                *("fulfilled", "refunded" if refund else "paid", _money(total), items),
            )
            for product, name, quantity, sales, discount, refund in bought
        ]
        return rows, total

    def _bad_orders(self, number: int) -> Iterator[Row]:
        owner = next(one for one in self.customers if one.owner)
        zero, _ = self._order(number + 1, owner.id)
        yield (*zero[0][:10], 0, *zero[0][11:])
        nobody, _ = self._order(number + 2, None)
        yield nobody[0]
        two, _ = self._order(number + 3, owner.id)
        yield two[0]
        yield (*two[0][:2], self.customers[-1].id, *two[0][3:])
        self.expected.invalid["orders"] += 2
        self.expected.unmapped["orders"] += 1

    def facts(self) -> Iterator[Row]:
        """Draw the current facts; orphans have none. To be called after the sales."""
        for customer in self.customers:
            if not customer.stores:
                continue
            tenant = (customer.tenant_id,) if self.kind != "single" else ()
            metrics = self._metrics(customer)
            yield (str(customer.id), customer.stores[0], "a1", "b7", "c42", *metrics, self._now, self._now, *tenant)

    def history(self) -> Iterator[Row]:
        """Draw a snapshot of every third customer, and of all whose second store makes the conflict."""
        for number, customer in enumerate(customer for customer in self.customers if customer.stores):
            if number % 3 and customer.case != "conflict":
                continue
            spent, orders = self._spent[customer.id]
            tenant = (customer.tenant_id,) if self.kind != "single" else ()
            day = (self._now - timedelta(days=90)).date()
            yield (number, str(customer.id), customer.stores[-1], day, 90, "a1", _money(spent), orders, *tenant)

    def profiles(self) -> Iterator[Row]:
        """Draw the profiles that the predecessor served."""
        for customer in self.customers:
            store = (customer.stores[0] if customer.stores else None,) if self.kind == "half" else ()
            memberships = json.dumps({"purchase_value": {"high_value": 0.8, "medium_value": 0.2}})
            dominant = json.dumps({"purchase_value": "high_value"})
            yield (str(customer.id), *store, "a1", "l2", memberships, dominant, *self._metrics(customer))

    def _metrics(self, customer: Customer) -> Row:
        spent, orders = self._spent[customer.id]
        days = customer.id % 365
        return (_money(spent), orders, _money(spent // orders), round(min(1.0, days / 240), 4), days, days + 300)

    def tickets(self) -> Iterator[Row]:
        """Draw the tickets; their messages, notes and recommendations are kept for the writer to take."""
        wild = list(accumulate(1.0 / (1 + rank) ** 0.4 for rank in range(len(self.customers))))
        planted = _planted()
        for number in range(1, self._tickets + 1):
            customer = self._draw.choices(self.customers, cum_weights=wild)[0]
            yield self._ticket(number, customer, planted.get(number, ""))

    def _ticket(self, number: int, customer: Customer, planted: str) -> Row:
        draw = self._draw
        ident = UUID(int=draw.getrandbits(128), version=4)
        created = self._moment()
        status = draw.choices(("open", "pending", "closed"), (25, 10, 65))[0]
        channel = draw.choices(("email", "chat", "sms", "phone", "form"), (60, 20, 8, 7, 5))[0]
        priority = draw.choices(("urgent", "high", "normal", "low"), (5, 20, 60, 15))[0]
        who, owner, account = self._writer(number, customer, planted)
        bad = {"status": "archived", "channel": "carrier_pigeon", "priority": "asap"}
        if planted in bad:
            self.expected.invalid["tickets"] += 1
        if planted == "web":
            channel = "web"
        values = {"status": status, "channel": channel, "priority": priority}
        if planted in bad:
            values[planted] = bad[planted]
        keeps = planted not in bad and owner
        messages, notes, last = self._conversation(ident, created, customer, planted)
        if keeps:
            self.expected.adapted["tickets"] += planted == "web"
            self.expected.invalid["messages"] += planted == "empty_message"
            self.expected.tickets[owner] += 1
            self.expected.messages[owner] += messages
            self.expected.notes[owner] += notes
            if len(known := self.expected.ticket_ids.setdefault(owner, [])) < 1000:
                known.append(ident)
        if number % 3 == 0:
            self._recommend(ident, created)
        subject, _ = LETTERS[number % len(LETTERS)]
        fields = {account.account_name: account.account} if account else {}
        fields |= {"order_number": f"#{1000 + number % 5000}"} if number % 4 == 0 else {}
        closed = last + timedelta(minutes=30) if values["status"] == "closed" else None
        return (
            *(ident, f"T-{number:03d}", who, values["channel"], None if number % 3 else "anna", values["status"]),
            *(values["priority"], subject.format(product=PRODUCTS[number % len(PRODUCTS)][1])),
            *(json.dumps(draw.choice((["vip"], [], ["returns", "q3"], None))), json.dumps(fields)),
            *(created, closed or last, closed),
        )

    def _writer(self, number: int, customer: Customer, planted: str) -> tuple[str | None, str, BuiltShop | None]:
        """Return a ticket's customer, the shop that must come out, and the account that the ticket names."""
        single = self.kind == "single"
        if planted == "no_customer":
            self._expect_left("" if not single else self.shops[0].slug, "unmapped")
            return None, self.shops[0].slug if single else "", None
        if number % 50 == 0:
            # Somebody whom no other table knows: only the helpdesk's account can tell the shop.
            shop = self._draw.choice(self.shops) if number % 250 else None
            owner = self.shops[0].slug if single else shop.slug if shop else ""
            self._expect_left(owner, "unmapped")
            return f"guest{number}@example.com", owner, shop
        if planted == "account" and not single and customer.owner:
            other = next(one for one in self.shops if one.slug != customer.owner)
            self._expect_left("", "conflicts")
            return str(customer.id), "", other
        account = customer.account if number % 10 < 7 else None
        owner = customer.owner
        if not owner and account:
            owner = account.slug
        if planted not in ("status", "channel", "priority"):
            self._expect_left(owner, "conflicts" if customer.case == "conflict" else "unmapped")
        elif not owner:
            self.expected.invalid["tickets"] -= 1
            self._expect_left(owner, "conflicts" if customer.case == "conflict" else "unmapped")
        return str(customer.id), owner, account

    def _expect_left(self, owner: str, how: str) -> None:
        if not owner:
            getattr(self.expected, how)["tickets"] += 1

    def _conversation(
        self, ticket: UUID, created: datetime, customer: Customer, planted: str
    ) -> tuple[int, int, datetime]:
        """Draw messages and notes; return how many of each move, and when the last was written."""
        draw = self._draw
        name = f"{FIRST_NAMES[customer.id % 13]} {LAST_NAMES[customer.id % 12]}"
        at, count = created, draw.choices((1, 2, 3, 5, 8), (25, 25, 25, 20, 5))[0]
        for place in range(count):
            agent = place % 2 == 1
            text = draw.choice(ANSWERS) if agent else draw.choice(FURTHER) if place else draw.choice(LETTERS)[1]
            content = text.format(product=PRODUCTS[draw.randrange(len(PRODUCTS))][1])
            author = ("Anna", "anna@desk.example") if agent else (name, f"customer{customer.id}@example.com")
            ident = UUID(int=draw.getrandbits(128), version=4)
            self.messages.append((ident, ticket, agent, content, *author, None, "{}", at))
            at = min(at + timedelta(minutes=draw.randrange(5, 900)), self._now)
        if planted == "empty_message":
            ident = UUID(int=draw.getrandbits(128), version=4)
            self.messages.append((ident, ticket, False, None, name, None, None, "{}", at))
        notes = 1 if draw.random() < 0.3 else 0
        for _ in range(notes):
            ident = UUID(int=draw.getrandbits(128), version=4)
            self.notes.append((ident, ticket, draw.choice(NOTES), "Anna", "7", at))
        return count, notes, at

    def _recommend(self, ticket: UUID, at: datetime) -> None:
        for _ in range(2):
            ident = UUID(int=self._draw.getrandbits(128), version=4)
            row = (ident, ticket, "normal", "[]", "[]", "[]", "{}", "A draft.", "friendly", "[]", at, at)
            self.recommendations.append(row if self.kind == "half" else (*row, 3))

    def _moment(self) -> datetime:
        """Draw when a ticket began: seldom at night, less at the weekend, and more lately than long ago."""
        while True:
            at = self._now - timedelta(
                days=_OLDEST_DAYS * self._draw.random() ** 2, minutes=self._draw.randrange(1, 60)
            )
            keep = 0.04 if at.hour in _QUIET_HOURS else 1.0
            if self._draw.random() < keep * (0.4 if at.weekday() > 4 else 1.0):
                return at


def _planted() -> dict[int, str]:
    """Return what is wrong or strange with which ticket."""
    return {
        11: "status", 12: "channel", 13: "priority", 14: "no_customer", 16: "account",
        17: "empty_message", 18: "web", 19: "web", 21: "status", 22: "account",
    }  # fmt: skip


def _money(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)
