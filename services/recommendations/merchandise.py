"""A product of a shop, and the versions of its product model, as they are kept."""

from dataclasses import dataclass, field
from datetime import datetime

from servicekit import money


@dataclass(frozen=True, slots=True)
class Product:
    """Something that a shop sells.

    Attributes:
        product_id: its id in the shop's own words.
        title: its name.
        category: in the shop's own words; may be empty.
        price_minor: the price of one in minor units; None when it is not known.
        currency: the price's currency (ISO 4217); empty without a price.
        stock: how many there are; None when nobody counts.
        url: its page, or empty.
        listed: whether it is in the catalogue; else it is known from orders.
        update_time: when it was last changed; None before it is stored.
    """

    product_id: str
    title: str
    category: str = ""
    price_minor: int | None = None
    currency: str = ""
    stock: int | None = None
    url: str = ""
    listed: bool = True
    update_time: datetime | None = field(default=None, compare=False)

    @property
    def price(self) -> str:
        """The price as decimal text of main units; empty when it is not known."""
        return "" if self.price_minor is None else money.text(self.price_minor, self.currency)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a shop's product model; `qualities` are NDCG@10 on the held-back days by the rankings' names."""

    version: int
    neighbours: bool
    create_time: datetime
    until: datetime
    customer_count: int
    item_count: int
    purchase_count: int
    held_back_days: int
    judged_customers: int
    qualities: dict[str, float]
    in_service: bool
    fixed: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """How a shop's products are suggested where a request does not say it, and the number of their last change."""

    diversity: float = 0.0
    exploration: float = 0.0
    revision: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """What holds for all products of a shop: the revision of the last change, the version in service, settings."""

    revision: int = 0
    serving_version: int = 0
    settings: Settings = Settings()
