"""Purchase histories drawn from the published models: BG/NBD for when, Gamma-Gamma for how much.

The parameters are those that were published for CDNOW (Fader, Hardie & Lee 2005; weeks and main units of money). No
data set is used: every customer is invented.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from cli.demo.shops import DemoShop, Product
from cli.order_file import OrderRow

RATE_SHAPE, RATE_SCALE = 0.243, 4.414
"""r and alpha: how often customers buy, per week."""
DROPOUT_A, DROPOUT_B = 0.793, 2.426
"""a and b: how probable it is that a purchase was the last one."""
VALUE_P, VALUE_Q, VALUE_V = 6.25, 3.74, 15.44
"""p, q and v: what a purchase is worth."""

_HISTORY_WEEKS = 104.0
_MOST_LINES = 6
_FIRST_CUSTOMER = 361_000_000_000
_GIVEN = """
    Ada Aiko Amara Anton Birgit Carlos Chiara Dana Dmitri Elif Emil Esther Farid Freya Goran Hana Ines Ivo Jonas Jun
    Kofi Lara Leila Luca Maja Marek Mateo Mina Nadia Niels Noor Olga Omar Pavel Petra Priya Rafael Rosa Samir Sofia
    Tariq Teresa Tomas Uma Vera Viktor Wanda Yara Yusuf Zoe
""".split()  # noqa: SIM905 - fifty names read better as text
_FAMILY = """
    Abe Almeida Bakker Berg Bianchi Castro Dahl Demir Dubois Eriksen Fischer Fofana Garcia Haas Haddad Horvat
    Ibrahim Jansen Kaya Keller Kowalski Larsen Lindgren Marino Mensah Meyer Moreau Nagy Novak Okafor Olsen Papas
    Pereira Popov Quist Rossi Sato Schmid Silva Singh Sokolov Tanaka Toth Varga Vidal Vogel Weber Wolff Yilmaz
    Ziegler
""".split()  # noqa: SIM905 - fifty names read better as text


@dataclass(frozen=True)
class DemoCustomer:
    """An invented customer: the id that Zendesk and the shop share, a name, and the orders' totals with their times."""

    id: str
    name: str
    orders: tuple[tuple[datetime, float], ...]

    @property
    def spent(self) -> float:
        """What the orders are worth together."""
        return sum(value for _, value in self.orders)


def draw_customers(shop: DemoShop, count: int, now: datetime) -> list[DemoCustomer]:
    """Draw customers, each with a first purchase within the last two years and its repeat purchases until `now`."""
    draw = np.random.default_rng(shop.seed)
    customers = []
    for number in range(count):
        age = draw.uniform(0.5, _HISTORY_WEEKS)
        moments = [age, *_repeat_purchases(draw, age)]
        spread = draw.gamma(VALUE_Q, 1 / VALUE_V)
        orders = tuple(
            (_at_daytime(now - timedelta(weeks=weeks), now, draw), float(draw.gamma(VALUE_P, 1 / spread)))
            for weeks in moments
        )
        name = f"{draw.choice(_GIVEN)} {draw.choice(_FAMILY)}"
        customers.append(DemoCustomer(str(_FIRST_CUSTOMER + shop.seed * 1000 + number), name, orders))
    return customers


def _repeat_purchases(draw: np.random.Generator, age: float) -> list[float]:
    """Return when a customer whose first purchase was `age` weeks ago bought again, in weeks before now."""
    rate = draw.gamma(RATE_SHAPE, 1 / RATE_SCALE)
    dropout = draw.beta(DROPOUT_A, DROPOUT_B)
    moments: list[float] = []
    left = age
    while True:
        left -= draw.exponential(1 / max(rate, 1e-9))
        if left <= 0:
            return moments
        moments.append(left)
        if draw.random() < dropout:
            return moments


def _at_daytime(moment: datetime, now: datetime, draw: np.random.Generator) -> datetime:
    """Move a moment to a waking hour of its day, but never into the future."""
    day = moment.replace(minute=int(draw.integers(60)), second=int(draw.integers(60)), microsecond=0)
    return min(day.replace(hour=int(draw.integers(8, 22))), now - timedelta(hours=1))


def order_rows(shop: DemoShop, customers: list[DemoCustomer]) -> list[OrderRow]:
    """Turn each drawn purchase into order lines from the shop's catalogue that come close to its value."""
    draw = np.random.default_rng(shop.seed + 1)
    rows = []
    number = 10_000
    for moment, value, customer in sorted((m, v, c.id) for c in customers for m, v in c.orders):
        number += 1
        for product, quantity in _basket(shop.products, value, draw):
            rows.append(
                OrderRow(
                    order_id=f"{shop.slug[:2].upper()}{number}",
                    customer_id=customer,
                    seconds=int(moment.timestamp()),
                    nanos=0,
                    product_id=product.id,
                    product_name=product.name,
                    quantity=quantity,
                    unit_price=f"{product.price:.2f}",
                    currency=shop.currency,
                )
            )
    return rows


def _basket(products: tuple[Product, ...], value: float, draw: np.random.Generator) -> list[tuple[Product, int]]:
    """Fill a basket up to a value: anything affordable at first, and the last line closes the gap."""
    basket: dict[str, tuple[Product, int]] = {}
    left = value
    while len(basket) < _MOST_LINES:
        affordable = [product for product in products if product.price <= left]
        if not affordable:
            break
        last = len(basket) == _MOST_LINES - 1
        product = affordable[-1] if last else affordable[int(draw.integers(len(affordable)))]
        quantity = max(1, int(left // product.price)) if last else 1
        basket[product.id] = (product, basket.get(product.id, (product, 0))[1] + quantity)
        left -= product.price * quantity
    return list(basket.values()) or [(products[0], 1)]
