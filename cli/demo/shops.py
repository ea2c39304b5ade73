"""The two shops of the demo world and what they sell. All of it is invented."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """Something that a shop sells: its id, its name, and its price in the shop's currency."""

    id: str
    name: str
    price: float


@dataclass(frozen=True)
class DemoShop:
    """An invented shop.

    Attributes:
        slug: its short name.
        name: its name for people.
        currency: the currency of its prices.
        subdomain: its invented account at Zendesk.
        seed: makes its customers and tickets; the same seed makes the same ones.
        products: what it sells.
    """

    slug: str
    name: str
    currency: str
    subdomain: str
    seed: int
    products: tuple[Product, ...]


def _catalogue(prefix: str, *products: tuple[str, float]) -> tuple[Product, ...]:
    return tuple(
        Product(f"{prefix}-{number:03d}", name, price) for number, (name, price) in enumerate(products, start=1)
    )


SHOPS = (
    DemoShop(
        slug="harbour-yarns",
        name="Harbour Yarns",
        currency="EUR",
        subdomain="harbour-yarns-demo",
        seed=20_261,
        products=_catalogue(
            "HY",
            ("Stitch markers, set of 20", 2.90),
            ("Tapestry needles", 3.40),
            ("Row counter", 4.20),
            ("Cotton cord 50 g, oat", 4.90),
            ("Sock wool 100 g, fog", 8.50),
            ("Sock wool 100 g, rust", 8.50),
            ("Merino DK 50 g, slate", 7.20),
            ("Merino DK 50 g, heather", 7.20),
            ("Alpaca lace 50 g, cloud", 9.80),
            ("Linen blend 50 g, reed", 6.40),
            ("Crochet hook 4.0 mm, birch", 6.90),
            ("Circular needle 3.5 mm", 9.50),
            ("Double-pointed needles 2.5 mm", 8.20),
            ("Pattern: Lighthouse jumper", 6.50),
            ("Pattern: Breakwater shawl", 5.50),
            ("Project bag, canvas", 18.00),
            ("Yarn bowl, stoneware", 34.00),
            ("Blocking mats, set of 9", 29.00),
            ("Wool wash 500 ml", 11.50),
            ("Kit: first socks", 32.00),
            ("Kit: Lighthouse jumper, M", 89.00),
            ("Interchangeable needle set", 119.00),
            ("Ball winder", 54.00),
            ("Swift, beech", 78.00),
        ),
    ),
    DemoShop(
        slug="pedal-and-spoke",
        name="Pedal & Spoke",
        currency="EUR",
        subdomain="pedal-and-spoke-demo",
        seed=20_262,
        products=_catalogue(
            "PS",
            ("Valve caps, pair", 2.50),
            ("Patch kit", 3.90),
            ("Tyre levers, set of 3", 4.50),
            ("Inner tube 28 inch", 6.90),
            ("Inner tube 20 inch", 5.90),
            ("Chain oil 100 ml", 8.90),
            ("Brake pads, V-brake, pair", 9.50),
            ("Brake pads, disc, pair", 17.50),
            ("Bell, brass", 14.00),
            ("Bottle 750 ml", 9.90),
            ("Bottle cage, alloy", 12.50),
            ("Bar tape, cork", 16.90),
            ("Grips, ergonomic", 24.00),
            ("Chain 10 speed", 29.00),
            ("Cassette 11-34", 48.00),
            ("Tyre 28 inch, puncture guard", 34.00),
            ("Tyre 20 inch, folding", 27.00),
            ("Front light 60 lux", 59.00),
            ("Rear light, dynamo", 22.00),
            ("Pannier 20 l, rolled top", 74.00),
            ("Floor pump", 39.00),
            ("Multitool, 17 functions", 28.00),
            ("Helmet, M", 69.00),
            ("Rain cape", 44.00),
        ),
    ),
)
